# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# The machines of the suite, and the host before and after.

thirteen=Upper                        # Debian 13
twelve=a.b                            # Debian 12
eleven=my-box                         # Debian 11
longest=$(printf 'long-%.0s' {1..12})name    # 64 characters, Debian 13
slow=slow                             # Debian 13 with a libcuda of its own that hangs
all_machines=("$thirteen" "$twelve" "$eleven" "$longest" "$slow" clean13 clean11 later musl broken by-hand)

gpus=$(find /proc/driver/nvidia/gpus -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)
other_gpu=$((gpus > 1 ? 1 : 0))       # of the second machine

_simulated_only() { [ "${LAB_DRIVER:-simulated}" = simulated ] || skip "wants the simulated driver"; }
_two_gpus() { [ "$gpus" -gt 1 ] || skip "wants two GPUs"; }

_driver() { "$simulated" "$@" "$BUILD_DIR/tests/simulated"; }    # OPTION…: the simulated driver, another way

_knows_no_machine() { [ "$(busctl call "$bus" /org/cudanspawn1 "$bus.Manager" ListMachines)" = "a(sso) 0" ]; }

# Also what an interrupted run left.
_clean_host() {
    local machine
    for machine in "${all_machines[@]}"; do
        rm -rf "/etc/systemd/system/systemd-nspawn@$machine.service.d"
        rm -f "$policies/$machine.yaml" "/etc/systemd/nspawn/$machine.nspawn" "/var/lib/machines/$machine.nspawn"
    done
    rm -f "$policies/under_score.yaml"
    rm -rf /run/systemd/system/cuda-nspawnd.service.d
    systemctl --quiet unmask --runtime cuda-nspawnd
    systemctl daemon-reload
    systemctl start cuda-nspawnd
    end_machines "${all_machines[@]}"
    wait_until 20 _knows_no_machine
    if [ "${LAB_DRIVER:-simulated}" = simulated ]; then
        _driver --gpus 3
        cuda-nspawnctl refresh
    fi
    for machine in "${all_machines[@]}"; do rm -rf "/var/lib/machines/$machine"; done
    systemctl reset-failed
} >/dev/null

# Where the first case of a piece begins, whatever became of those before.
_set_out() {
    rm -rf "/etc/systemd/nspawn/$eleven.nspawn" "/etc/systemd/system/systemd-nspawn@$eleven.service.d"
    policy "$thirteen" 'gpus: [0]'
    policy "$eleven" "gpus: [$other_gpu]"
    systemctl start "cuda-nspawn@$thirteen" "cuda-nspawn@$eleven"
}

# A machine of a Debian release, with a service of its own that needs CUDA as soon as services may.
_make() {    # SUITE MACHINE
    [ -d "/usr/share/lab/guests/$1" ] || skip "this lab has no $1"
    lab-guest "$1" "$2"
    local units=/var/lib/machines/$2/etc/systemd/system
    cat >"$units/early-cuda.service" <<'END'
[Unit]
DefaultDependencies=no
After=sysinit.target
Before=basic.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/nvidia-smi -L
END
    mkdir -p "$units/basic.target.wants"
    ln -s ../early-cuda.service "$units/basic.target.wants/"
}
