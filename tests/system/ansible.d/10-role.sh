# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# One life of a fleet, by each controller in turn: what is asked of the role, and what it did. A run takes seconds, so
# each shows as much as it can; a case begins where the one before has ended.

_package() { printf '%s' "$BUILD_DIR"/deb/packages/cuda-nspawn_*.deb; }

_driver_version() { if [ "${LAB_DRIVER:-}" = real ]; then cat /sys/module/nvidia/version; else echo 999.42.01; fi; }

_check_says_what_would_be_done() {    # CONTROLLER
    local before host said
    _usual_fleet
    before=$(_faces)
    # Where there is no unit to be enabled yet, too.
    said=$(_apply "$1" --check --diff -e cuda_nspawn_package="$(_package)" -e '{cuda_nspawn_machine_defaults: {enabled: true}}')
    for host in "${hosts[@]}"; do
        _recap "$host" "$said" failed=0 unreachable=0
        lacks "the recap" "$(grep "^$host " <<<"$said")" "changed=0 "
    done
    has "the diff" "$said" "+gpus: all"
    # Where there is a daemon to ask.
    if _on host-1 test -e /usr/lib/cuda-nspawn; then
        has "the plan" "$said" "+DeviceAllow=/dev/char/" "start systemd-nspawn@trainer.service"
    fi
    same "what is on the hosts" "$(_faces)" "$before"
}

# With the facts, which tell what is there then.
_apply_does_it() {    # CONTROLLER
    local host said
    _usual_fleet
    said=$(_apply "$1" "$suite_d/facts.yml" -e cuda_nspawn_package="$(_package)" -e driver="$(_driver_version)")
    for host in "${hosts[@]}"; do _recap "$host" "$said" failed=0 unreachable=0; done
    _each_is State attached
    _each_is Verdict passed
    same "the policy" "$(_on host-1 grep -v '^#' "$policy_file")" $'gpus: all\nself_test: quick'
    same "its mode" "$(_on host-1 stat -c '%a %U' "$policy_file")" "644 root"
}

# And runs no self-test.
_the_second_apply_changes_nothing() {    # CONTROLLER
    local before
    _usual_fleet
    before=$(_faces)
    _changed_nothing "$(_apply "$1" --diff -e cuda_nspawn_package="$(_package)")"
    same "what is on the hosts" "$(_faces)" "$before"
}

_only_the_one_that_is_changed_changes() {    # CONTROLLER
    local others said
    _usual_fleet
    _only host-2 'cuda_nspawn_machines: {trainer: {gpus: [0], self_test: quick}}'
    others=$(_face host-1; _face host-3)
    said=$(_apply "$1" --diff)
    _recap host-2 "$said" changed=1 failed=0
    _recap host-1 "$said" changed=0 failed=0
    _recap host-3 "$said" changed=0 failed=0
    has "the diff" "$said" "-gpus: all" "+gpus: [0]"
    same "what is on the others" "$(_face host-1; _face host-3)" "$others"
    has "Gpus" "$(_property host-2 Gpus)" "1 \"GPU-"
    same "Verdict" "$(_property host-2 Verdict)" passed
}

# What the daemon says of a policy is what the task says, and nothing was written. Other machines and hosts go on.
_what_is_wrong_with_one_is_said_and_the_others_go_on() {    # CONTROLLER
    local before said
    _usual_fleet
    _only host-2 'cuda_nspawn_machines: {trainer: {gpus: [0, first], self_test: quick}, ../other: {gpus: all, state: prepared}}'
    _only host-3 'cuda_nspawn_machines: {other: {gpus: all, on_failure: stop, capabilities: [computing]}, trainer: {gpus: [0], self_test: quick}}'
    before=$(_face host-2)
    said=$(refused _apply "$1")
    _recap host-1 "$said" failed=0 changed=0
    _recap host-2 "$said" failed=1 changed=0
    has "what it says" "$said" "trainer: $policy_file:2:" first '../other'
    same "what is on host-2" "$(_face host-2)" "$before"
    _recap host-3 "$said" failed=1
    has "what it says" "$said" "other: $policies/other.yaml:" computing
    _on host-3 test ! -e "$policies/other.yaml"
    same "the policy" "$(_on host-3 sed -n 2p "$policy_file")" "gpus: [0]"
    _each_is Verdict passed
}

# No start at boot either, whatever the defaults say.
_absent_leaves_nothing() {    # CONTROLLER
    local host said
    _all_alike
    _fleet 'cuda_nspawn_machine_defaults: {enabled: true}' 'cuda_nspawn_machines: {trainer: {state: absent}}'
    for host in "${hosts[@]}"; do _on "$host" systemctl enable cuda-nspawn@trainer; done
    said=$(_apply "$1" --diff)
    has "the diff" "$said" "-gpus: " "--- /run/systemd/nspawn/trainer.nspawn"
    for host in "${hosts[@]}"; do
        _recap "$host" "$said" changed=2 failed=0
        _on "$host" test ! -e "$policy_file"
        same "cuda-nspawn@trainer" "$(_on "$host" systemctl is-enabled cuda-nspawn@trainer || :)" disabled
        same "the machine" "$(_on "$host" systemctl is-active systemd-nspawn@trainer)" active
        _on "$host" machinectl poweroff trainer
    done
    for host in "${hosts[@]}"; do wait_until 30 _has_ended "$host"; done
    _changed_nothing "$(_apply "$1")"
    same "what is there of it" "$(_on host-1 'find /run/cuda-nspawn/machines /run/systemd -path "*trainer*" -path "*cuda*" ! -path "*/units/*"')" ""
}

_has_ended() { [ "$(_on "$1" systemctl is-active systemd-nspawn@trainer)" = inactive ]; }

debian_12_check_says_what_would_be_done() { _check_says_what_would_be_done bookworm; }

# And nothing else is done there.
a_host_without_cuda_nspawn_keeps_its_driver() {
    local host said
    _usual_fleet
    said=$(refused _upgrade bookworm 999.50.01 -e cuda_nspawn_upgrade_batch=100%)
    for host in "${hosts[@]}"; do _recap "$host" "$said" failed=1 changed=0; done
    has "what it says" "$said" "cuda-nspawn is not installed on this host"
}

debian_12_apply_does_it() { _apply_does_it bookworm; }
debian_12_the_second_apply_changes_nothing() { _the_second_apply_changes_nothing bookworm; }
debian_12_only_the_one_that_is_changed_changes() { _only_the_one_that_is_changed_changes bookworm; }
debian_12_what_is_wrong_with_one_is_said_and_the_others_go_on() { _what_is_wrong_with_one_is_said_and_the_others_go_on bookworm; }
debian_12_absent_leaves_nothing() { _absent_leaves_nothing bookworm; }

# It gets what it is given when it starts, which is somebody else's business.
prepared_is_not_started() {
    local host said
    _all_alike
    _fleet 'cuda_nspawn_machine_defaults: {state: prepared, enabled: true}' \
        'cuda_nspawn_machines: {trainer: {gpus: [0], self_test: quick}}'
    _only host-2 'cuda_nspawn_machines: {trainer: {gpus: [0], self_test: quick, enabled: false}}'
    said=$(_apply trixie)
    _recap host-1 "$said" failed=0 changed=2
    _recap host-2 "$said" failed=0 changed=1
    _recap host-3 "$said" failed=0 changed=2
    _each_is State ready
    same "the machine" "$(_on host-1 systemctl is-active systemd-nspawn@trainer || :)" inactive
    same "cuda-nspawn@trainer" "$(_on host-1 systemctl is-enabled cuda-nspawn@trainer)" enabled
    same "cuda-nspawn@trainer of host-2" "$(_on host-2 systemctl is-enabled cuda-nspawn@trainer || :)" disabled
    _changed_nothing "$(_apply trixie)"
}

debian_13_check_says_what_would_be_done() { _check_says_what_would_be_done trixie; }
debian_13_apply_does_it() { _apply_does_it trixie; }
debian_13_the_second_apply_changes_nothing() { _the_second_apply_changes_nothing trixie; }
debian_13_only_the_one_that_is_changed_changes() { _only_the_one_that_is_changed_changes trixie; }
debian_13_what_is_wrong_with_one_is_said_and_the_others_go_on() { _what_is_wrong_with_one_is_said_and_the_others_go_on trixie; }

nonsense_is_refused_before_anything_is_done() {
    local before said
    _usual_fleet
    before=$(_faces)
    _only host-1 'cuda_nspawn_machines: [trainer]'
    _only host-2 'cuda_nspawn_machines: {trainer: {gpus: [0]}, other: {gpus: all, selftest: quick}}'
    _only host-3 'cuda_nspawn_machines: {trainer: {gpus: [0]}, other: {gpus: all, state: atached}}'
    said=$(refused _apply trixie)
    has "what it says" "$said" "cuda_nspawn_machines" "dict" \
        "cuda_nspawn_machines.other.selftest" "self_test" "attached, prepared, detached, absent" atached
    for host in "${hosts[@]}"; do _recap "$host" "$said" failed=1 changed=0; done
    same "what is on the hosts" "$(_faces)" "$before"
}

# A GPU that the host does not have, and a driver with which CUDA computes nonsense.
a_machine_in_which_cuda_does_not_work_fails_with_cause_and_remedy() {
    local said
    _simulated_only
    _usual_fleet
    _only host-2 'cuda_nspawn_machines: {trainer: {gpus: [7], self_test: quick}}'
    _on host-3 '/src/tests/simulated/setup --fault wrong-result /build/tests/simulated && cuda-nspawnctl refresh'
    said=$(refused _apply trixie -e cuda_nspawn_retest=true)
    _on host-3 '/src/tests/simulated/setup /build/tests/simulated && cuda-nspawnctl refresh'
    _recap host-1 "$said" failed=0
    _recap host-2 "$said" failed=1
    _recap host-3 "$said" failed=1
    has "what it says of host-2" "$said" "trainer: the policy of machine trainer names GPU index 7" "In the policy: gpus: all [gpu-not-found]"
    has "what it says of host-3" "$said" "trainer: failed: kernel: " "On the host: cuda-nspawnctl attach --fresh --test trainer [self-test-failed]"
}

# A verdict that was not good is not taken again.
what_was_mended_is_tested_again() {
    local host said
    _usual_fleet
    said=$(_apply trixie)
    for host in "${hosts[@]}"; do _recap "$host" "$said" failed=0; done
    _each_is State attached
    _each_is Verdict passed
}

detached_takes_gpus_from_what_runs() {
    local host said
    _all_alike
    _fleet 'cuda_nspawn_machines: {trainer: {gpus: all, self_test: quick, state: detached}}'
    said=$(_apply trixie --check --diff)
    has "the diff" "$said" "deny "
    _each_is State attached
    said=$(_apply trixie)
    for host in "${hosts[@]}"; do _recap "$host" "$said" changed=1 failed=0; done
    _each_is State detached
    same "the machine" "$(_on host-1 systemctl is-active systemd-nspawn@trainer)" active
    _changed_nothing "$(_apply trixie)"
}

debian_13_absent_leaves_nothing() { _absent_leaves_nothing trixie; }
