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

_note=/var/lib/cuda-nspawn/ansible-upgrade.json

a_driver_upgrade_is_rolled_over_the_fleet() {
    local host said
    _simulated_only
    _have_fleet
    _have_reload
    said=$(_upgrade trixie 999.50.01 -e cuda_nspawn_upgrade_batch=100% --check)
    for host in "${hosts[@]}"; do _recap "$host" "$said" failed=0 changed=2; done
    has "what would follow" "$said" "stop of trainer; /var/tmp/reload 999.50.01"
    said=$(_upgrade bookworm 999.50.01 -e cuda_nspawn_driver_activate=reboot --check --limit host-1)
    _recap host-1 "$said" failed=0 changed=2
    has "what would follow" "$said" "reboot of the host"
    same "what the hosts have after a check" "$(_drivers)" "s 999.42.01 s 999.42.01 s 999.42.01"
    said=$(_upgrade trixie 999.50.01 -e cuda_nspawn_upgrade_batch=100%)
    for host in "${hosts[@]}"; do _recap "$host" "$said" failed=0 unreachable=0; done
    same "what the hosts have" "$(_drivers)" "999.50.01 s 999.50.01 999.50.01 s 999.50.01 999.50.01 s 999.50.01"
    _each_is State attached
    _each_is Verdict passed
    has "its generation" "$(_property host-3 Generation)" 999.50.01-
    for host in "${hosts[@]}"; do _on "$host" test ! -e "$_note"; done
    _changed_nothing "$(_upgrade bookworm 999.50.01 -e cuda_nspawn_upgrade_batch=100% --check)"
}

# The machines behind the first that fails run again all the same.
it_stops_at_the_first_host_with_a_failed_verdict() {
    local said
    _simulated_only
    _on host-2 "lab-guest trixie early
        printf '%s\n' 'gpus: [0]' 'self_test: quick' 'on_failure: stop' >$policies/early.yaml
        cuda-nspawnctl attach --start --test early"
    _on host-2 'echo --fault wrong-result >/etc/lab-driver-options'
    said=$(refused _upgrade bookworm 999.51.01)
    _recap host-1 "$said" failed=0
    _recap host-2 "$said" failed=1
    has "what it says" "$said" "early: failed: kernel: " "; trainer: failed: kernel: " "[self-test-failed]"
    lacks "what was done" "$said" "host-3 "
    same "what the hosts have" "$(_drivers)" "999.51.01 s 999.51.01 999.51.01 s 999.51.01 999.50.01 s 999.50.01"
    same "what host-2 has noted" "$(_on host-2 "cat $_note; stat -c '%a %U' $_note")" $'["early", "trainer"]\n600 root'
    _on host-1 test ! -e "$_note"
    wait_until 30 _early_is inactive
    same "trainer of host-2" "$(_on host-2 systemctl is-active systemd-nspawn@trainer)" active
}

_early_is() { [ "$(_on host-2 systemctl is-active systemd-nspawn@early)" = "$1" ]; }

# A machine that the first attempt left stopped is not forgotten.
it_goes_on_with_all_machines_that_ran_when_that_is_mended() {
    local host said
    _simulated_only
    _on host-2 'rm /etc/lab-driver-options; /var/tmp/reload 999.51.01'
    said=$(_upgrade trixie 999.51.01 -e cuda_nspawn_upgrade_batch=100%)
    for host in "${hosts[@]}"; do _recap "$host" "$said" failed=0; done
    _each_is Verdict passed
    same "early" "$(machine=early _property host-2 State) $(machine=early _property host-2 Verdict)" "attached passed"
    for host in "${hosts[@]}"; do _on "$host" test ! -e "$_note"; done
    _changed_nothing "$(_upgrade trixie 999.51.01 -e cuda_nspawn_upgrade_batch=100%)"
}
