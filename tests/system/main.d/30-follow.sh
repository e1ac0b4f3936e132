# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Our unit and the verdict follow the machine, however it ends and begins.

_instance_of() { machinectl show --property=Leader --property=TimestampMonotonic "$1" </dev/null; }
_is_another() { [ "$(_instance_of "$1")" != "$2" ] && [ -n "$(_instance_of "$1")" ]; }    # MACHINE INSTANCE

_comes_back_after() {    # COMMAND…: that begins the machine anew
    local before instance
    before=$(property "$thirteen" LastSelfTest)
    instance=$(_instance_of "$thirteen")
    "$@" </dev/null || :      # the call's answer may die with the guest
    wait_until 30 _is_another "$thirteen" "$instance"
    wait_for_verdict "$thirteen" "$before"
    sees_exactly "$thirteen" 0
}

_nothing_is_left_of_the_instance() {    # MACHINE
    wait_until 10 property_is "$1" State ready
    wait_until 10 _is_inactive "$1"
    # Written by systemd for the rules of the running unit.
    wait_until 10 _has_no_control_file "$1"
    lacks "the unit's drop-ins" "$(systemctl show --property=DropInPaths --value "$(unit_of "$1")")" system.control
    same "the daemon's memory" "$(find /run/cuda-nspawn/state -name "$1.json" -o -name "*@$1.service.*")" ""
}

_is_inactive() { [ "$(systemctl is-active "cuda-nspawn@$1")" = inactive ]; }
_has_no_control_file() { [ -z "$(find /run/systemd/system.control -path "*@$1.service*" 2>/dev/null)" ]; }

a_reboot_inside_the_guest_ends_with_a_fresh_verdict() {
    _set_out
    _comes_back_after in_guest "$thirteen" systemctl reboot
}
machinectl_reboot_ends_with_a_fresh_verdict() { _comes_back_after machinectl reboot "$thirteen"; }
systemctl_restart_of_the_machine_ends_with_a_fresh_verdict() { _comes_back_after systemctl restart "$(unit_of "$thirteen")"; }

a_poweroff_inside_the_guest_ends_our_unit_and_leaves_nothing() {
    in_guest "$thirteen" systemctl poweroff || :
    wait_until 30 is_down "$thirteen"
    _nothing_is_left_of_the_instance "$thirteen"
}

the_machines_own_start_brings_GPU_and_verdict() {
    local before
    before=$(property "$thirteen" LastSelfTest)
    systemctl start "$(unit_of "$thirteen")"
    wait_for_verdict "$thirteen" "$before"
}

machinectl_terminate_ends_our_unit_and_the_next_start_passes() {
    machinectl terminate "$thirteen" </dev/null
    wait_until 30 is_down "$thirteen"
    _nothing_is_left_of_the_instance "$thirteen"
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
}

systemctl_stop_of_the_machine_ends_our_unit() {
    systemctl stop "$(unit_of "$thirteen")"
    wait_until 30 is_down "$thirteen"
    _nothing_is_left_of_the_instance "$thirteen"
}

a_machine_that_was_detached_has_its_GPU_again_after_a_start() {
    systemctl start "cuda-nspawn@$thirteen"
    systemctl stop "cuda-nspawn@$thirteen"
    _comes_back_after machinectl reboot "$thirteen"
}

a_guest_whose_first_process_dies_ends_our_unit() {
    kill -KILL "$(leader_of "$thirteen")"
    wait_until 30 is_down "$thirteen"
    _nothing_is_left_of_the_instance "$thirteen"
    systemctl reset-failed "$(unit_of "$thirteen")" || :
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
}
