# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What is below us comes and goes: systemd reads its units again or begins anew, machined, the bus, ourselves.

_daemon_answers() { [ "$(systemctl is-active cuda-nspawnd)" = active ] && busctl get-property "$bus" /org/cudanspawn1 "$bus.Manager" Version; }

_they_compute_through() {    # ROUNDS COMMAND…
    local round before machine count=$1
    shift
    _all_are_attached
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do _begin_computing "$machine"; done
    before=$(_verdict_times)
    for ((round = 0; round < count; round++)); do
        "$@"
        wait_until 30 _daemon_answers
    done
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do
        wait_until 20 property_is "$machine" State attached
        is_attached "$machine"
        _computes_undisturbed "$machine"
        same "$machine: the door" "$(door "$machine" "$(node_of 0)")" open
        _stop_computing "$machine"
    done
    same "no new verdict was needed" "$(_verdict_times)" "$before"
}

_verdict_times() { property "$by_unit" LastSelfTest; property "$by_machinectl" LastSelfTest; property "$by_hand" LastSelfTest; }

_restart_all() {
    systemctl daemon-reload
    systemctl restart systemd-machined
    systemctl daemon-reexec
    systemctl reset-failed cuda-nspawnd    # its starts are limited, and we make many
    systemctl restart cuda-nspawnd
}

reloads_and_restarts_of_systemd_machined_and_the_daemon_in_a_loop() { _they_compute_through $((5 * rounds)) _restart_all; }

_kill_the_daemon() {
    local pid
    systemctl reset-failed cuda-nspawnd
    pid=$(_daemon_pid)
    kill -KILL "$pid"
    wait_until 10 _is_another_daemon "$pid"
}
_is_another_daemon() { [ "$(_daemon_pid)" != "$1" ] && [ "$(_daemon_pid)" != 0 ]; }

a_daemon_that_is_killed_again_and_again() { _they_compute_through $((5 * rounds)) _kill_the_daemon; }

# Everything that speaks D-Bus notices. The daemon ends, systemd starts it again when there is a bus.
_lose_the_bus() {
    local pid
    systemctl reset-failed cuda-nspawnd
    pid=$(_daemon_pid)
    systemctl kill --signal=KILL dbus.service
    wait_until 20 _is_another_daemon "$pid"
}

the_bus_is_lost_for_real() {
    _they_compute_through 1 _lose_the_bus
    has "the journal" "$(journalctl --output=cat --since "$case_begin" --unit=cuda-nspawnd)" 'the connection to the system bus was lost'
}

# --- the host's boot -------------------------------------------------------------------------------------------------

# A reboot as far as it matters here: what is below /run is gone, the numbers of devices may have changed, and all starts
# together. The lab's host itself cannot be rebooted under the suite.
_shut_down() {
    local machine
    end_machines "$by_unit" "$by_machinectl" "$by_hand"
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do wait_until 20 _our_unit_rests "$machine"; done
    systemctl stop cuda-nspawnd
    systemctl stop cuda-nspawn-expose.socket cuda-nspawn-look.socket 'run-cuda\x2dnspawn-machines.mount'
    rm -rf /run/cuda-nspawn /run/systemd/nspawn/*.nspawn /run/systemd/system/*nspawn@*.d /run/systemd/system/machine-*.scope.d \
        /run/systemd/system.control
    systemctl daemon-reload
}

enabled_machines_come_up_with_their_GPU_at_boot() {
    local machine
    _all_are_attached
    _shut_down
    systemd-tmpfiles --create
    systemctl enable --quiet "systemd-nspawn@$by_unit" "cuda-nspawn@$by_machinectl"
    rm "$policies/$by_hand.yaml"
    systemctl stop machines.target
    # What a boot's transaction has, in one.
    systemctl start multi-user.target machines.target cuda-nspawnd.service
    systemctl disable --quiet "systemd-nspawn@$by_unit" "cuda-nspawn@$by_machinectl"
    for machine in "$by_unit" "$by_machinectl"; do
        wait_for_verdict "$machine" 0
        sees_exactly "$machine" 0
        # With our mounts from the beginning, not with what came later.
        lacks "$machine: the journal" "$(journalctl --output=cat --since "$case_begin" CUDA_NSPAWN_MACHINE="$machine")" 'was mounted into it'
    done
    [ "$(_when cuda-nspawnd.service ActiveEnter)" -le "$(_when "systemd-nspawn@$by_unit.service" InactiveExit)" ]
}

_has_been_stopping_for_a_second() {    # UNIT
    [ "$(systemctl is-active "$1")" = deactivating ] &&
        [ "$(_when "$1" StateChange)" -lt "$(awk '{ printf "%.0f", ($1 - 1) * 1000000 }' /proc/uptime)" ]
}

_our_unit_rests() { [[ $(systemctl is-active "cuda-nspawn@$1") =~ ^(inactive|failed)$ ]]; }

_when() { systemctl show --property="$2TimestampMonotonic" --value "$1"; }

a_machine_boots_at_once_without_the_daemon() {
    local begin
    _shut_down
    systemctl --quiet mask --runtime cuda-nspawnd
    systemd-tmpfiles --create
    begin=${EPOCHREALTIME/./}
    systemctl start machines.target "systemd-nspawn@$by_unit.service"
    wait_until 20 has_booted "$by_unit"
    [ $((${EPOCHREALTIME/./} - begin)) -lt 8000000 ]
    systemctl --quiet unmask --runtime cuda-nspawnd
    systemctl start cuda-nspawnd
    # It was started without our settings, which were gone, so they are given to it now.
    wait_for_verdict "$by_unit" 0
    sees_exactly "$by_unit" 0
}

# Its start waits for a stop of our unit, and that for the daemon: for so long as the unit's own limit.
a_machine_that_is_restarted_while_a_detach_hangs_waits_ten_seconds_at_most() {
    local begin
    _all_are_attached
    kill -STOP "$(_daemon_pid)"
    systemctl stop --no-block "cuda-nspawn@$by_unit"
    # By then it has asked, and not found that the machine is to end anyway.
    wait_until 5 _has_been_stopping_for_a_second "cuda-nspawn@$by_unit"
    begin=${EPOCHREALTIME/./}
    systemctl restart "systemd-nspawn@$by_unit"
    wait_until 20 has_booted "$by_unit"
    [ $((${EPOCHREALTIME/./} - begin)) -lt 20000000 ]
    kill -CONT "$(_daemon_pid)"
    wait_until 20 systemctl --quiet is-active "cuda-nspawn@$by_unit"
    wait_for_verdict "$by_unit" 0
    sees_exactly "$by_unit" 0
}
