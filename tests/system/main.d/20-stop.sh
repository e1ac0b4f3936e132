# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Taking the GPU from a running machine and giving it back; what is left in the guest: nothing.

stop_takes_the_GPU_and_leaves_the_machine_running() {
    local leader
    leader=$(leader_of "$thirteen")
    systemctl stop "cuda-nspawn@$thirteen"
    same "the unit" "$(systemctl is-active "cuda-nspawn@$thirteen")" inactive
    same "the machine's first process" "$(leader_of "$thirteen")" "$leader"
    same State "$(property "$thirteen" State)" detached
    same Verdict "$(property "$thirteen" Verdict)" none
    has "systemctl status" "$(status_of "$thirteen")" 'Status: "detached"'
    same "nodes lent" "$(find "/run/cuda-nspawn/machines/$thirteen/dev" -type c)" ""
    wait_until 10 has_no_nodes "$thirteen"
    same "the door" "$(door "$thirteen" "$(node_of 0)")" closed
    has_no_rules_of_ours "$thirteen"
    refused in_guest "$thirteen" nvidia-smi -L
}

a_detached_machine_stays_so_after_a_daemon_reload() {
    systemctl daemon-reload
    has_no_rules_of_ours "$thirteen"
    same "the door" "$(door "$thirteen" "$(node_of 0)")" closed
    same State "$(property "$thirteen" State)" detached
}

a_self_test_of_a_detached_machine_is_refused() {
    has "the answer" "$(refused cuda-nspawnctl test "$thirteen" 2>&1)" "\"$thirteen\" is detached" "systemctl start cuda-nspawn@$thirteen"
}

start_gives_the_GPU_back_to_the_running_machine() {
    local leader
    leader=$(leader_of "$thirteen")
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
    same "the machine's first process" "$(leader_of "$thirteen")" "$leader"
    same "the door" "$(door "$thirteen" "$(node_of 0)")" open
    sees_exactly "$thirteen" 0
    systemctl daemon-reload
    same "the door after a daemon-reload" "$(door "$thirteen" "$(node_of 0)")" open
}

# A row of the table: MACHINE PID PID-IN-MACHINE NAME DEVICES.
_holder() { cuda-nspawnctl holders "$1" | awk -v pid="$2" '$3 == pid { print $1, $2, $4, $5 }'; }    # MACHINE PID-IN-MACHINE

who_holds_a_GPU_open_is_told_by_machine_and_process_and_by_stop() {
    local node inside outside sentence
    node=nvidia$(gpu_field 0 minor)
    # Of a user who has no right to the host's processes, and whose process may not be looked into.
    systemd-run --machine="$thirteen" --quiet --unit=holder --uid=65534 -- \
        sh -c "exec 3<>/dev/$node; exec sleep infinity" </dev/null
    wait_until 10 _holds "$thirteen" "$node"
    inside=$(in_guest "$thirteen" systemctl show --property=MainPID --value holder)
    outside=$(_holder "$thirteen" "$inside" | cut -d ' ' -f 2)
    same "the row" "$(_holder "$thirteen" "$inside")" "$thirteen $outside sleep $node"
    same "the process on the host" "$(sed -nE 's/^NSpid:\t//p' "/proc/$outside/status")" "$outside"$'\t'"$inside"
    lacks "another machine's" "$(cuda-nspawnctl holders "$eleven")" "$outside"

    systemctl stop "cuda-nspawn@$thirteen"
    same "the unit" "$(systemctl is-active "cuda-nspawn@$thirteen")" inactive
    same State "$(property "$thirteen" State)" detached
    sentence="still open in pid $outside (sleep): $node: it keeps the GPU until it closes it or ends"
    has "systemctl status" "$(status_of "$thirteen" | sed -n '/Status:/p')" "detached; $sentence"
    has "the journal" "$(journalctl --output=cat --since "$case_begin" --unit="cuda-nspawn@$thirteen")" "$sentence"
    has "cuda-nspawnctl" "$(cuda-nspawnctl detach "$thirteen")" "$sentence"

    in_guest "$thirteen" systemctl stop holder
    same "cuda-nspawnctl holders" "$(cuda-nspawnctl holders "$thirteen")" "nobody holds a GPU open"
    lacks "cuda-nspawnctl" "$(cuda-nspawnctl detach "$thirteen")" "still open"
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
}

_holds() { [[ $(cuda-nspawnctl holders "$1") == *" $2"* ]]; }    # MACHINE NODE

a_process_of_the_host_is_told_without_a_machine() {
    local node process=$BASHPID    # a substitution below is another one
    node=nvidia$(gpu_field 0 minor)
    exec 3<>"/run/cuda-nspawn/machines/$thirteen/dev/$node"
    same "the row" "$(_holder "" "$process")" "- $process main $node"
    lacks "of the machine" "$(cuda-nspawnctl holders "$thirteen")" " $process "
    exec 3>&-
    same "the row" "$(_holder "" "$process")" ""
}

a_detach_works_when_nobody_can_tell_who_holds_a_GPU_open() {
    systemctl mask --runtime cuda-nspawn-holders@.service
    has "cuda-nspawnctl" "$(cuda-nspawnctl detach "$thirteen" 2>&1)" "Who keeps the GPU open is not known: "
    systemctl unmask --runtime cuda-nspawn-holders@.service
    same State "$(property "$thirteen" State)" detached
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
}

reload_tests_again() {
    local before leader
    before=$(property "$thirteen" LastSelfTest)
    leader=$(leader_of "$thirteen")
    systemctl reload "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
    [ "$(property "$thirteen" LastSelfTest)" -gt "$before" ]
    same "the machine's first process" "$(leader_of "$thirteen")" "$leader"
}

reload_mends_what_somebody_changed() {
    rm "/run/cuda-nspawn/machines/$thirteen/dev/nvidiactl" "/run/cuda-nspawn/machines/$thirteen/driver"
    systemctl set-property --runtime "$(unit_of "$thirteen")" DeviceAllow= DeviceAllow='/dev/fuse rwm'
    same "the door" "$(door "$thirteen" "$(node_of 0)")" closed
    systemctl reload "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
    same "the door" "$(door "$thirteen" "$(node_of 0)")" open
    sees_exactly "$thirteen" 0
    # What somebody set by himself stays his, so he takes it back.
    rm -r "/run/systemd/system.control/$(unit_of "$thirteen").d"
    systemctl daemon-reload
}

stop_and_start_in_quick_succession_end_as_asked_last() {
    for _ in 1 2 3 4; do
        systemctl stop --no-block "cuda-nspawn@$thirteen"
        systemctl start --no-block "cuda-nspawn@$thirteen"
    done
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
    sees_exactly "$thirteen" 0
    same "the door" "$(door "$thirteen" "$(node_of 0)")" open
}

# --- the guest's root file system ------------------------------------------------------------------------------------

_release_stays() {    # SUITE MACHINE
    lab-guest "$1" "$2"
    root_file_system_stays "$2"
    rm -r "/var/lib/machines/$2"
}

the_root_file_system_of_debian_13_is_left_as_it_was() { _release_stays trixie clean13; }
the_root_file_system_of_debian_11_is_left_as_it_was() { _release_stays bullseye clean11; }
