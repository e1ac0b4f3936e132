# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# The machine of the suite, and how a diagnosis is read.

guest=patient
all_machines=("$guest" second)
settings=/etc/systemd/nspawn/$guest.nspawn
beside=/var/lib/machines/$guest.nspawn
root=/var/lib/machines/$guest
drop_ins=/etc/systemd/system/systemd-nspawn@$guest.service.d
hosts_libcuda=$(ldconfig -p | sed -nE 's/.*libcuda\.so\.1 .*x86-64.*=> (.*)/\1/p' | head -n 1)
fake_pci=/run/lab-pci
fake_modules=/run/lab-modules

# One machine serves many cases: each leaves it as it was, which _is_well shows. Whatever became of the case before.
_patient() {
    _host_as_it_was
    [ -d "$root" ] || _make trixie "$guest"
    policy "$guest" "${@:-gpus: [0]}"
}

_running_patient() {
    _patient "$@"
    systemctl --quiet reset-failed
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
}

_discharged() {
    rm -f "$policies/$guest.yaml" "$settings" "$beside"
    if [ -d "$drop_ins" ]; then rm -r "$drop_ins"; fi
    systemctl daemon-reload
    end_machines "$guest"
    wait_until 10 _knows_no_machine
}

# A diagnosis that _finds an error exits with 1.
_diagnosis() { cuda-nspawnctl diagnose "$guest" "$@" || [ $? -eq 1 ]; }
_codes_in() { sed -nE 's/^(error|warning|info): .* \[([a-z0-9-]+)\]$/\2/p'; }
_remedy_in() { sed -nE 's/^    Mend it(, (on the host|in the machine|in the policy))?: (.*)$/\3/p' | head -n 1; }
_place_in() { sed -nE 's/^    Mend it(, (on the host|in the machine|in the policy))?: .*$/\2/p' | head -n 1; }

_is_well() { same "what is found" "$(_diagnosis | _codes_in | xargs)" ""; }

# The first finding is CODE, and its lines have the parts.
_finds() {    # CODE PART…
    _finds_with '' "$@"
}

_finds_with() {    # OPTIONS CODE PART…
    local -a options
    read -ra options <<<"$1"
    local code=$2 found
    shift 2
    found=$(_diagnosis "${options[@]}")
    same "the first finding" "$(_codes_in <<<"$found" | head -n 1)" "$code" || fail "$found"
    has "the diagnosis" "$found" "$@"
    last_diagnosis=$found
}

# What the last diagnosis printed first is done as it stands there.
_mend() {
    local remedy
    remedy=$(_remedy_in <<<"$last_diagnosis")
    echo "remedy: $remedy"
    case $(_place_in <<<"$last_diagnosis") in
        'on the host') bash -euc "$remedy" ;;
        'in the machine')
            if is_running "$guest"; then
                in_guest "$guest" sh -euc "$remedy"
            else
                systemd-nspawn --quiet --directory="$root" --register=no --pipe sh -euc "$remedy" </dev/null
            fi ;;
        'in the policy') policy "$guest" "$remedy" ;;
        *) fail "there is no command: $last_diagnosis" ;;
    esac
}

# It is what `systemctl start` ends with, too.
_start_fails_with() {    # CODE
    local code=$1
    systemctl --quiet reset-failed
    refused systemctl start "cuda-nspawn@$guest"
    # Where the machine itself does not start, systemctl says "canceled" a moment before it is known why.
    wait_until 5 status_has "$guest" "[$code]"
    has "the property Findings" "$(property "$guest" Findings)" "\"$code\""
}

_starts_again() {
    systemctl --quiet reset-failed
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    _is_well
}

# What the lab's host does not have: a PCI bus with a GPU on it. A mock of what the kernel shows.
_pci_has() {    # ADDRESS CLASS DRIVER
    mkdir -p "$fake_pci/$1" "$fake_pci/drivers/$3"
    echo 0x10de >"$fake_pci/$1/vendor"
    echo "$2" >"$fake_pci/$1/class"
    if [ -n "$3" ]; then ln -sfn "../drivers/$3" "$fake_pci/$1/driver"; fi
    mountpoint -q /sys/bus/pci/devices || mount --bind "$fake_pci" /sys/bus/pci/devices
}

_pci_as_it_was() {
    if mountpoint -q /sys/bus/pci/devices; then umount /sys/bus/pci/devices; fi
    rm -rf "$fake_pci"
}

# A mock of what the kernel shows of its modules.
_module_is_loaded() {    # MODULE
    mkdir -p "$fake_modules/$1"
    echo live >"$fake_modules/$1/initstate"
    mount --bind "$fake_modules" /sys/module
}

_host_as_it_was() {
    end_machines "$guest"
    _pci_as_it_was
    if mountpoint -q /sys/module; then umount /sys/module; fi
    rm -rf "$fake_modules" /run/log/journal/*/system@lab.journal
    systemctl --quiet reset-failed
    rm -f /usr/local/sbin/modprobe "$settings" "$beside" /etc/systemd/system.control/"$(unit_of "$guest").d"/*.conf
    if [ -d "$drop_ins" ]; then
        rm -r "$drop_ins"
        systemctl daemon-reload
    fi
    if [ "${LAB_DRIVER:-simulated}" = simulated ]; then
        _driver --gpus 3
        _refreshed
    fi
}

# A line of the kernel's log, as journald would have taken it over; the lab's kernel is the machine's own.
_kernel_says() {    # LINE
    local remote=/usr/lib/systemd/systemd-journal-remote id
    [ -x "$remote" ] || skip "this lab has no systemd-journal-remote"
    id=$(cat /etc/machine-id)
    mkdir -p "/run/log/journal/$id"
    printf '%s\n' "__REALTIME_TIMESTAMP=$(date +%s%6N)" "__MONOTONIC_TIMESTAMP=$(awk '{ print int($1 * 1000000) }' /proc/uptime)" \
        "_BOOT_ID=$(tr -d - </proc/sys/kernel/random/boot_id)" "_MACHINE_ID=$id" _TRANSPORT=kernel "MESSAGE=$1" '' |
        "$remote" --output="/run/log/journal/$id/system@lab.journal" - >/dev/null
}

# The simulated driver has no modules: this modprobe loads and removes what stands for them.
_simulated_modprobe() {
    cat >/usr/local/sbin/modprobe <<END
#!/bin/bash
case \$* in
    nvidia | nvidia-uvm) "$simulated" --gpus 3 "$BUILD_DIR/tests/simulated" ;;
    *) ;;
esac
END
    chmod 755 /usr/local/sbin/modprobe
}

_refreshed() { cuda-nspawnctl refresh; }
