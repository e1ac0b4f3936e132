# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# The machine of the suite, made anew for each case, and what each has to show.

guest=mode
all_machines=("$guest")
settings=/etc/systemd/nspawn/$guest.nspawn
beside=/var/lib/machines/$guest.nspawn
lent=/run/lab-admin    # what the admin's settings lend the guest; an overlay wants it on no overlay
rounds=${ROUNDS:-1}
smi=/run/cuda-nspawn/driver/utility/bin/nvidia-smi

# Whatever became of the case before.
_make_guest() {    # [SUITE]
    _leaves_no_trace
    systemctl --quiet reset-failed
    _make "${1:-trixie}" "$guest"
}

# What a settings file of the admin's says, a line each.
_settings() {
    mkdir -p "${settings%/*}"
    printf '%s\n' "$@" >"$settings"
}

_leaves_no_trace() {
    rm -f "$policies/$guest.yaml" "$settings"
    if [ -d "/etc/systemd/system/$(unit_of "$guest").d" ]; then
        rm -r "/etc/systemd/system/$(unit_of "$guest").d"
        systemctl daemon-reload
    fi
    if [ "$(cat "/proc/$(leader_of "$guest" 2>/dev/null)/comm" 2>/dev/null)" != systemd ]; then
        machinectl --quiet terminate "$guest" </dev/null 2>/dev/null || :    # nobody there would obey a poweroff
    fi
    end_machines "$guest"
    wait_until 10 _knows_no_machine
    rm -rf "/var/lib/machines/$guest" "/var/lib/machines/$guest.raw" "$beside" "/run/systemd/nspawn/$guest.nspawn" "$lent"
}

_early_service() { in_guest "$guest" systemctl show --property=Result --value early-cuda.service; }

# It has its GPU from the first service on, loses it by a stop and gets it again, while it runs.
_works() {
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    wait_until 30 has_booted "$guest"
    same "the service that needs CUDA after sysinit.target" "$(_early_service)" success
    same "the GPUs" "$(in_guest "$guest" $smi -L | grep -c GPU-)" 1
    systemctl stop "cuda-nspawn@$guest"
    same "its door, detached" "$(door "$guest" "$(node_of 0)")" closed
    wait_until 10 _has_nothing_of_ours
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
}

_has_nothing_of_ours() {
    [ -z "$(in_guest "$guest" find /dev ! -type d -name 'nvidia*')" ] && [[ $(in_guest "$guest" ldconfig -p) != */run/cuda-nspawn* ]]
}

# The sentence is told, nothing was changed for the machine, and without the policy's wish it would start as ever.
_is_refused() {    # PART…
    policy "$guest" 'gpus: [0]'
    refused systemctl start "cuda-nspawn@$guest"
    tells "$guest" "$@"
    same State "$(property "$guest" State)" blocked
    same "settings files of ours" "$(find /run/systemd/nspawn /run/cuda-nspawn/settings -name "$guest.nspawn")" ""
    lacks "the unit" "$(systemctl cat "systemd-nspawn@$guest")" DeviceAllow=/dev/char
    same "the machine" "$(systemctl is-active "systemd-nspawn@$guest")" inactive
}
