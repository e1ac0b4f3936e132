# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The driver changes, breaks, goes. Only with the simulated one, which can be told to.

_blocked_by() {    # SENTENCE: of a driver that cannot be used; told to machines that run and to those that shall
    wait_until 10 property_is "$thirteen" State blocked
    has "$thirteen: StateText" "$(property "$thirteen" StateText)" "$1"
    has "the journal" "$(journalctl --output=cat --since "$case_begin" --unit=cuda-nspawnd)" "$1"
    has Warnings "$(busctl get-property "$bus" /org/cudanspawn1 "$bus.Manager" Warnings)" "${1//\"/\\\"}"
    wait_until 10 _has_no_rules "$thirteen"
    refuses_but_boots "$eleven" "$1"
    has_no_rules_of_ours "$eleven"
    end_machines "$eleven"
}

_was_told() {    # PART…: in the daemon's journal
    has "the journal" "$(journalctl --output=cat --since "$case_begin" --unit=cuda-nspawnd)" "$@"
}

_pending_is() { [ "$(busctl get-property "$bus" /org/cudanspawn1 "$bus.Manager" PendingVersion)" = "s \"$1\"" ]; }

_works_again() {
    local before
    before=$(property "$thirteen" LastSelfTest)
    _driver --gpus 3
    wait_for_verdict "$thirteen" "$before"
    sees_exactly "$thirteen" 0
}

without_a_driver_machines_boot_and_are_told() {
    _simulated_only
    _set_out
    end_machines "$eleven" "$twelve"
    "$simulated" --remove
    _blocked_by 'no NVIDIA kernel module is loaded'
    has StateText "$(property "$thirteen" StateText)" 'install NVIDIA'\''s driver'
    _was_told 'the NVIDIA kernel module was unloaded: 999.42.01' '(kernel event)'
    _works_again
    _was_told 'the NVIDIA kernel module was loaded: 999.42.01, 3 GPUs' '(kernel event)'
}

without_a_GPU_machines_boot_and_are_told() {
    _simulated_only
    _driver --gpus 0
    _blocked_by 'is loaded, but has no GPU'
    _works_again
}

without_uvm_machines_boot_and_are_told() {
    _simulated_only
    _driver --without-uvm
    _blocked_by 'nvidia-uvm is not loaded, without which CUDA fails with error 999: load it with "modprobe nvidia-uvm"'
    _works_again
}

# As where the files have another name (Debian: nvidia-current), by modprobe.d. Here it is the simulated module that comes.
a_refresh_loads_missing_modules_and_has_the_hosts_nodes_made() {
    _simulated_only
    local configuration=/run/modprobe.d/lab.conf program=/usr/local/bin/nvidia-modprobe log=/run/lab-modules before
    before=$(property "$thirteen" LastSelfTest)
    _driver --without-uvm
    wait_until 10 property_is "$thirteen" State blocked
    mkdir -p "${configuration%/*}"
    cat >"$configuration" <<END
install nvidia echo nvidia \$CMDLINE_OPTS >>$log
install nvidia-uvm modprobe nvidia ; modprobe nvidia-current-uvm \$CMDLINE_OPTS
install nvidia-current-uvm echo nvidia-uvm >>$log; $simulated $BUILD_DIR
END
    # shellcheck disable=SC2016 # for that program's shell
    printf '#!/bin/sh\necho "$0 $*" >>%s\n' "$log" >"$program"
    chmod +x "$program"
    cuda-nspawnctl refresh
    wait_for_verdict "$thirteen" "$before"
    wait_until 10 grep -q -- '-u -c 0' "$log"
    rm "$configuration" "$program"
    same "what was called" "$(cat "$log")" "nvidia
nvidia
nvidia-uvm
$program -c 255 -c 0 -c 1 -c 3
$program -u -c 0"
    rm "$log"
}

# Of a number that was nvidia-uvm's at an earlier boot.
a_stale_node_of_the_host_is_nothing_to_a_machine() {
    _simulated_only
    rm /dev/nvidia-uvm
    mknod -m 666 /dev/nvidia-uvm c 1 3
    systemctl reload "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
    _driver
}

between_a_package_upgrade_and_the_modules_reload_machines_keep_what_they_have() {
    _simulated_only
    local face
    face=$(_face_of "$thirteen")
    _driver --version 999.50.00 --kernel-version 999.42.01
    wait_until 10 _pending_is 999.50.00
    # Or the look after the case before saw them first.
    _was_told 'driver files changed: 999.42.01 -> 999.50.00 ('
    has "cuda-nspawnctl status" "$(cuda-nspawnctl status)" "Pending: 999.50.00 (waits for the module's reload or a reboot)"
    has Warnings "$(busctl get-property "$bus" /org/cudanspawn1 "$bus.Manager" Warnings)" \
        'the NVIDIA kernel module is 999.42.01, the driver files on the host are 999.50.00'
    same "$thirteen" "$(_face_of "$thirteen")" "$face"
    sees_exactly "$thirteen" 0
    systemctl start "cuda-nspawn@$eleven"
    is_attached "$eleven"
    end_machines "$eleven"
}

an_upgraded_driver_is_swapped_into_running_machines() {
    _simulated_only
    local before leader
    before=$(property "$thirteen" LastSelfTest)
    leader=$(leader_of "$thirteen")
    _driver --version 999.50.00
    wait_for_verdict "$thirteen" "$before"
    has Generation "$(property "$thirteen" Generation)" 999.50.00-
    has "ldconfig -p in the guest" "$(in_guest "$thirteen" sh -c 'readlink -f /run/cuda-nspawn/driver/compute/lib/libcuda.so.1')" 999.50.00
    sees_exactly "$thirteen" 0
    same "the machine's first process" "$(leader_of "$thirteen")" "$leader"
    _was_told 'the NVIDIA kernel module was reloaded: 999.42.01 -> 999.50.00 (kernel event)'
    _pending_is ''
    _works_again
}

a_node_that_vanished_is_back_after_a_refresh() {
    local node before
    node=/run/cuda-nspawn/machines/$thirteen/dev/nvidia$(gpu_field 0 minor)
    before=$(property "$thirteen" LastSelfTest)
    rm "$node"
    cuda-nspawnctl refresh
    wait_until 10 test -c "$node"
    wait_for_verdict "$thirteen" "$before"
}

a_refresh_with_nothing_to_mend_changes_nothing() {
    local face
    face=$(_face_of "$thirteen")
    cuda-nspawnctl refresh
    wait_until 10 _has_verified
    wait_until 10 property_is "$thirteen" State attached
    same "$thirteen" "$(_face_of "$thirteen")" "$face"
    same "the journal" "$(journalctl --output=cat --since "$case_begin" --identifier=cuda-nspawnd | wc -l)" 1
}

_has_verified() {
    journalctl --output=cat --since "$case_begin" --unit=cuda-nspawnd | grep 'what the machines have is verified (refresh)'
}

a_GPU_that_goes_is_named() {
    _simulated_only
    _driver --gpus 1
    policy "$eleven" 'gpus: [1]'
    refuses_but_boots "$eleven" 'names GPU index 1, but this host has GPU 0 ('
    _driver --gpus 3
    wait_until 10 property_is "$eleven" State attached
    systemctl start "cuda-nspawn@$eleven"
    is_attached "$eleven"
}

# --- a driver that is there and does not work: the verdict says so, on_failure what becomes of it -----------------------

_fails_with() {    # FAULT SENTENCE…
    local fault=$1
    shift
    systemctl stop "cuda-nspawn@$thirteen"
    _driver --fault "$fault"
    refused systemctl start "cuda-nspawn@$thirteen"
    tells "$thirteen" "$@"
    _has_failed "$thirteen"
    is_running "$thirteen"
}

a_wrong_result_fails() {
    _simulated_only
    _fails_with wrong-result 'failed: kernel: '
    same Verdict "$(property "$thirteen" Verdict)" failed
    # The door is open all the same: on_failure is warn.
    same "the door" "$(door "$thirteen" "$(node_of 0)")" open
}

another_GPU_than_the_granted_one_fails() {
    _simulated_only
    _fails_with other-gpu 'failed: ' GPU-5a1ed000-c0de-4000-8000-000000000081
}

a_self_test_that_floods_is_ended_and_told() {
    _simulated_only
    local begin=${EPOCHREALTIME/./}
    _fails_with flood 'no verdict: the self-test wrote more than it may and was killed'
    # Not at the time limit of one that hangs, which is a minute.
    [ $((${EPOCHREALTIME/./} - begin)) -lt 45000000 ]
    same Verdict "$(property "$thirteen" Verdict)" no-verdict
    _has_no_leaf "$thirteen"
}

on_failure_detach_takes_the_GPU() {
    _simulated_only
    policy "$thirteen" 'gpus: [0]' 'on_failure: detach'
    _driver --fault wrong-result
    refused systemctl restart "cuda-nspawn@$thirteen"
    has "systemctl status" "$(status_of "$thirteen")" 'Status: "failed: kernel: '
    has VerdictText "$(property "$thirteen" VerdictText)" 'failed: kernel: '
    wait_until 10 _has_no_rules "$thirteen"
    same State "$(property "$thirteen" State)" detached
    same "the door" "$(door "$thirteen" "$(node_of 0)")" closed
}

on_failure_stop_stops_the_machine() {
    _simulated_only
    policy "$thirteen" 'gpus: [0]' 'on_failure: stop'
    refused systemctl start "cuda-nspawn@$thirteen"
    wait_until 30 is_down "$thirteen"
    has "systemctl status" "$(status_of "$thirteen")" 'failed: kernel: '
}

a_mended_driver_passes_again() {
    _simulated_only
    policy "$thirteen" 'gpus: [0]'
    _driver --gpus 3
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
}

# What was in use when the last one was made may be there still.
the_store_does_not_grow() {
    [ "$(find /var/lib/cuda-nspawn/driver -mindepth 1 -maxdepth 1 | wc -l)" -le 2 ]
    [ -d "/var/lib/cuda-nspawn/driver/$(property "$thirteen" Generation)" ]
}
