# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Another driver under guests that run, start and are down. Another version only with the simulated driver, which can have any.

_generation() { readlink "/run/cuda-nspawn/machines/$1/driver"; }
_has_version() { [[ $(_generation "$1") == */$2-* ]]; }    # MACHINE VERSION
_store() { find /var/lib/cuda-nspawn/driver -mindepth 1 -maxdepth 1 -printf '%f\n' | sort; }
_store_has_only() { [[ $(_store) == "$1"-* && $(_store | wc -l) -eq 1 ]]; }    # VERSION

# A file of the driver with another time makes another generation of the same version: mounted over the real one, so that
# nothing of the host's is touched.
_other_generation() {
    local file
    file=$(readlink -f "$(ldconfig -p | sed -n 's/.*libnvidia-ml.so.1 (libc6,x86-64) => //p' | head -n 1)")
    cp -p "$file" /run/other-driver-file
    touch /run/other-driver-file
    mount --bind /run/other-driver-file "$file"
    echo "$file"
}

the_same_version_in_another_generation_is_swapped_in_under_what_computes() {
    local machine file first
    _all_are_attached
    first=$(_generation "$by_unit")
    for machine in "$by_unit" "$by_hand"; do _begin_computing "$machine"; done
    file=$(_other_generation)
    cuda-nspawnctl refresh
    wait_until 30 _has_another_generation "$by_unit" "$first"
    wait_until 30 _has_another_generation "$by_hand" "$first"
    # The daemon dies in the middle of it.
    kill -KILL "$(_daemon_pid)"
    for machine in "$by_unit" "$by_hand" "$by_machinectl"; do
        wait_until 60 property_is "$machine" State attached
        wait_until 60 property_is "$machine" Verdict passed
        _has_another_generation "$machine" "$first"
        sees_exactly "$machine" 0
    done
    for machine in "$by_unit" "$by_hand"; do _computes_undisturbed "$machine"; done
    umount "$file"
    rm /run/other-driver-file
    cuda-nspawnctl refresh
    for machine in "$by_unit" "$by_hand" "$by_machinectl"; do
        wait_until 30 _has_generation "$machine" "$first"
        wait_until 60 property_is "$machine" Verdict passed
    done
    for machine in "$by_unit" "$by_hand"; do
        _computes_undisturbed "$machine"
        _stop_computing "$machine"
    done
    wait_until 20 _store_has_one
}

_has_generation() { [ "$(_generation "$1")" = "$2" ]; }
_has_another_generation() { [ "$(_generation "$1")" != "$2" ]; }
_store_has_one() { [ "$(_store | wc -l)" -eq 1 ]; }

new_files_with_the_old_module_change_nothing_and_are_told() {
    _simulated_only
    _all_are_attached
    _make_live bookworm down12
    policy down12 'gpus: [1]'
    local before
    before=$(_generation "$by_unit")
    _begin_computing "$by_unit"
    _driver --version 999.50.00 --kernel-version 999.42.01
    wait_until 10 _pending_is 999.50.00
    has Warnings "$(busctl get-property "$bus" /org/cudanspawn1 "$bus.Manager" Warnings)" 999.42.01 999.50.00 reload
    has "cuda-nspawnctl status" "$(cuda-nspawnctl status)" 999.50.00
    same "the generation" "$(_generation "$by_unit")" "$before"
    _computes_undisturbed "$by_unit"
}

_pending_is() { [ "$(busctl get-property "$bus" /org/cudanspawn1 "$bus.Manager" PendingVersion)" = "s \"$1\"" ]; }

the_modules_reload_swaps_the_driver_under_every_guest() {
    _simulated_only
    local machine pid before
    before=$(property "$by_unit" LastSelfTest)
    pid=$(in_guest "$by_unit" systemctl show --property=MainPID --value compute)
    _driver --version 999.50.00
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do
        wait_for_verdict "$machine" "$before"
        _has_version "$machine" 999.50.00
        # shellcheck disable=SC2016 # for the guest's shell
        has "$machine: its loader" "$(in_guest "$machine" sh -c 'readlink -f "$(ldconfig -p | sed -n "s/.*libcuda.so.1 .*=> //p")"')" 999.50.00
    done
    _computes_undisturbed "$by_unit"
    has "what computes keeps its library" "$(in_guest "$by_unit" cat "/proc/$pid/maps")" libcuda.so.999.42.01
    has "a new program" "$(in_guest "$by_unit" timeout 1 compute || :)" "libcuda.so.999.50.00" 'round 50: right'
    _stop_computing "$by_unit"
}

# What a test says of a driver that is in force no longer is of no use, so nobody waits for its end: a minute here.
a_self_test_that_hangs_in_the_old_driver_does_not_delay_that_of_the_new_one() {
    _simulated_only
    local machine before
    before=$(property "$by_unit" LastSelfTest)
    _driver --version 999.50.00 --fault hang
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do wait_until 20 _runs_a_self_test "$machine"; done
    _driver --version 999.50.00
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do wait_for_verdict "$machine" "$before"; done
    wait_until 10 _has_no_leaf
}

_runs_a_self_test() { in_guest "$1" sh -c 'cat /proc/[0-9]*/cmdline' | tr '\0' ' ' | grep 'self-test quick'; }

_swap_all_to() {    # VERSION
    local machine
    _driver --version "$1"
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do
        wait_until 20 _has_version "$machine" "$1"
        wait_until 30 property_is "$machine" Verdict passed
    done
}

# The second change comes while the guest still takes over the first, or the self-test runs.
changes_in_quick_succession_are_taken_over_within_seconds() {
    _simulated_only
    local round version machine
    for ((round = 0; round < 3 * rounds; round++)); do
        version=999.$((52 + round % 2)).00
        systemctl stop "cuda-nspawn@$by_unit"
        systemctl start --no-block "cuda-nspawn@$by_unit"
        # 0 to 190 ms.
        sleep "0.$((round * 7 % 20 / 10))$((round * 7 % 10))"
        _driver --version "$version"
        for machine in "$by_unit" "$by_machinectl" "$by_hand"; do
            wait_until 10 _has_version "$machine" "$version"
            wait_until 10 property_is "$machine" State attached
            wait_until 10 property_is "$machine" Verdict passed
        done
    done
    _swap_all_to 999.50.00
}

# As where inotify instances had run out when it was to be armed again.
a_guest_whose_path_unit_has_failed_gets_the_new_driver_all_the_same() {
    _simulated_only
    local machine before
    before=$(property "$by_unit" LastSelfTest)
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do in_guest "$machine" systemctl stop cuda-nspawn-refresh.path; done
    _driver --version 999.51.00
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do
        wait_for_verdict "$machine" "$before"
        in_guest "$machine" systemctl --quiet is-active cuda-nspawn-refresh.path
    done
    _swap_all_to 999.50.00
}

the_old_generation_goes_with_its_last_user() {
    _simulated_only
    wait_until 10 _store_has_only 999.50.00
}

a_guest_that_was_down_gets_the_new_driver_at_its_next_start() {
    _simulated_only
    systemctl start systemd-nspawn@down12
    wait_for_verdict down12 0
    _has_version down12 999.50.00
    sees_exactly down12 1
}

a_guest_boots_at_any_moment_of_a_swap() {
    _simulated_only
    local round version
    for ((round = 0; round < 4 + 2 * rounds; round++)); do
        end_machines down12
        version=999.$((60 + round)).00
        _driver --version "$version"
        # Each round a little later into the swap, which comes a moment after the module.
        sleep "0.$((round * 3 % 10))"
        systemctl start systemd-nspawn@down12
        wait_until 30 has_booted down12
        wait_until 20 _has_version down12 "$version"
        wait_until 30 property_is down12 State attached
        wait_until 30 property_is down12 Verdict passed
        sees_exactly down12 1
    done
    end_machines down12
    rm "$policies/down12.yaml"
    _driver --gpus 3
    wait_until 20 _has_version "$by_unit" 999.42.01
    wait_until 30 property_is "$by_unit" Verdict passed
    wait_until 10 _store_has_only 999.42.01
}
