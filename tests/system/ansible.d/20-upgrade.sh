# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Another driver for the fleet, host after host.

_have_fleet() {
    _usual_fleet
    _apply trixie -e cuda_nspawn_package="$(_package)"
}

_upgrade() {    # CONTROLLER VERSION ARGUMENT…
    _playbook "$1" upgrade-driver.yml "${@:3}" \
        -e "{cuda_nspawn_driver_packages: [lab-driver=$2], cuda_nspawn_driver_reload_commands: [/var/tmp/reload $2]}"
}

# In place of modprobe: no module is there that could be unloaded.
_have_reload() {
    local host
    for host in "${hosts[@]}"; do
        # shellcheck disable=SC2016 # for the host's shell
        _on "$host" 'printf "%s\n" "#!/bin/sh" "exec /src/tests/simulated/setup \$(cat /etc/lab-driver-options 2>/dev/null) --version \$1 /build/tests/simulated" >/var/tmp/reload && chmod 755 /var/tmp/reload'
    done
}

_drivers() {    # what each host has, of files and of the module
    local host
    for host in "${hosts[@]}"; do
        # shellcheck disable=SC2016 # for the host's shell, and for dpkg-query
        _on "$host" 'dpkg-query --show --showformat="\${Version} " lab-driver 2>/dev/null; busctl get-property org.cudanspawn1 /org/cudanspawn1 org.cudanspawn1.Manager KernelVersion'
    done | xargs
}

a_driver_upgrade_is_rolled_over_the_fleet() {
    local said
    _simulated_only
    _have_fleet
    _have_reload
    said=$(_upgrade trixie 999.50.01 -e cuda_nspawn_upgrade_batch=100% --check)
    has "the recaps" "$said" "host-3 "
    same "what the hosts have after a check" "$(_drivers)" "s 999.42.01 s 999.42.01 s 999.42.01"
    said=$(_upgrade trixie 999.50.01 -e cuda_nspawn_upgrade_batch=100%)
    for host in "${hosts[@]}"; do _recap "$host" "$said" failed=0 unreachable=0; done
    same "what the hosts have" "$(_drivers)" "999.50.01 s 999.50.01 999.50.01 s 999.50.01 999.50.01 s 999.50.01"
    _each_is State attached
    _each_is Verdict passed
    has "its generation" "$(_property host-3 Generation)" 999.50.01-
}

it_stops_at_the_first_failed_verdict() {
    local said
    _simulated_only
    _on host-2 'echo --fault wrong-result >/etc/lab-driver-options'
    said=$(refused _upgrade bookworm 999.51.01)
    _recap host-1 "$said" failed=0
    _recap host-2 "$said" failed=1
    has "what it says" "$said" "trainer: failed: kernel: " "[self-test-failed]"
    lacks "what was done" "$said" "host-3 "
    same "what the hosts have" "$(_drivers)" "999.51.01 s 999.51.01 999.51.01 s 999.51.01 999.50.01 s 999.50.01"
    # And goes on where it stopped, when that is mended.
    _on host-2 'rm /etc/lab-driver-options; /var/tmp/reload 999.51.01'
    said=$(_upgrade trixie 999.51.01 -e cuda_nspawn_upgrade_batch=100%)
    for host in "${hosts[@]}"; do _recap "$host" "$said" failed=0; done
    _each_is Verdict passed
}
