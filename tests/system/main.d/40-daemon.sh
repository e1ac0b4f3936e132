# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The daemon comes and goes; machines do not notice.

_answers() { busctl get-property "$bus" /org/cudanspawn1 "$bus.Manager" Version; }

# All that a machine or its admin could see change.
_face_of() {    # MACHINE
    _instance_of "$1"
    property "$1" LastSelfTest
    property "$1" State
    device_rules "$1"
    systemctl show --property=ActiveState --property=ActiveEnterTimestampMonotonic "cuda-nspawn@$1"
    cat "/run/cuda-nspawn/machines/$1/guest/epoch"
}

_both_stay_through() {    # COMMAND…: one machine attached, one detached
    local attached detached before
    systemctl reset-failed cuda-nspawnd    # its starts are limited, and we make many
    before=$(systemctl show --property=MainPID cuda-nspawnd)
    attached=$(_face_of "$thirteen")
    detached=$(_face_of "$eleven")
    "$@"
    wait_until 20 _is_another_daemon "$before"
    wait_until 20 _answers
    same "$thirteen" "$(_face_of "$thirteen")" "$attached"
    same "$eleven" "$(_face_of "$eleven")" "$detached"
    is_attached "$thirteen"
    sees_exactly "$thirteen" 0
    same "the door of $eleven" "$(door "$eleven" "$(node_of "$other_gpu")")" closed
}

_is_another_daemon() {    # MAINPID-LINE
    local now
    now=$(systemctl show --property=MainPID cuda-nspawnd)
    [ "$now" != "$1" ] && [ "$now" != MainPID=0 ] && systemctl --quiet is-active cuda-nspawnd
}

a_restart_of_the_daemon_changes_nothing() {
    _set_out
    systemctl stop "cuda-nspawn@$eleven"
    same "$eleven" "$(property "$eleven" State)" detached
    _both_stay_through systemctl restart cuda-nspawnd
}

a_killed_daemon_comes_back_and_changes_nothing() { _both_stay_through systemctl kill --signal=KILL cuda-nspawnd; }

_everything_else_restarts() {
    systemctl restart systemd-machined
    systemctl daemon-reexec
    systemctl restart cuda-nspawnd
}

a_restart_of_machined_and_of_systemd_itself_changes_nothing() { _both_stay_through _everything_else_restarts; }

a_machine_starts_without_a_daemon_and_has_its_GPU_when_one_comes() {
    systemctl --quiet mask --runtime --now cuda-nspawnd
    end_machines "$eleven"
    boot "$eleven"
    wait_until 10 _has_failed "$eleven"
    has "systemctl status" "$(status_of "$eleven")" "cuda-nspawnd.service is masked"
    systemctl --quiet unmask --runtime cuda-nspawnd
    systemctl start cuda-nspawnd
    wait_for_verdict "$eleven" 0
}

_has_failed() { [ "$(systemctl is-active "cuda-nspawn@$1")" = failed ]; }

what_ended_while_no_daemon_ran_is_cleaned_up() {
    systemctl reset-failed cuda-nspawnd
    systemctl --quiet mask --runtime --now cuda-nspawnd
    end_machines "$eleven"
    rm "$policies/$eleven.yaml"
    systemctl --quiet unmask --runtime cuda-nspawnd
    systemctl start cuda-nspawnd
    wait_until 10 _is_inactive "$eleven"
    wait_until 10 _has_no_control_file "$eleven"
    wait_until 10 test ! -e "/run/cuda-nspawn/machines/$eleven"
    same "settings and drop-ins" "$(find /run/systemd/nspawn /run/systemd/system -path "*$eleven*" -name '*nspawn*' -type f)" ""
    policy "$eleven" "gpus: [$other_gpu]"
    systemctl start "cuda-nspawn@$eleven"
    is_attached "$eleven"
}

a_daemon_that_hangs_delays_a_machine_by_its_time_limit_and_no_more() {
    same "the time limit as shipped" "$(systemctl show --property=TimeoutStartUSec --value cuda-nspawnd)" 10s
    local drop_in=/run/systemd/system/cuda-nspawnd.service.d/hang.conf
    mkdir -p "${drop_in%/*}"
    printf '%s\n' '[Service]' ExecStart= 'ExecStart=sleep infinity' TimeoutStartSec=2s Restart=no >"$drop_in"
    end_machines "$eleven"
    systemctl daemon-reload
    systemctl stop cuda-nspawnd
    systemctl reset-failed cuda-nspawnd
    local begin=${EPOCHREALTIME/./}
    systemctl start "$(unit_of "$eleven")"
    wait_until 30 has_booted "$eleven"
    [ $((${EPOCHREALTIME/./} - begin)) -lt 8000000 ]
    rm -r "${drop_in%/*}"
    systemctl daemon-reload
    systemctl restart cuda-nspawnd
    wait_for_verdict "$eleven" 0
}

# --- the workers that stay ---------------------------------------------------------------------------------------------

a_request_outlives_the_worker_that_is_killed_before_it_took_it() {
    _set_out
    systemctl stop "cuda-nspawn@$eleven"
    systemctl start cuda-nspawn-expose.service
    systemctl kill --signal=STOP cuda-nspawn-expose.service
    systemctl start "cuda-nspawn@$eleven" &
    local start=$!
    wait_until 10 property_is "$eleven" State preparing
    systemctl kill --signal=KILL cuda-nspawn-expose.service
    wait "$start"
    is_attached "$eleven"
}

a_worker_without_its_socket_is_named_and_comes_back_with_the_daemon() {
    systemctl stop cuda-nspawn-expose.socket
    refused systemctl reload "cuda-nspawn@$eleven"
    has "$eleven: StateText" "$(property "$eleven" StateText)" \
        "cuda-nspawn-expose.socket does not listen (Connection refused): start it, or see systemctl status cuda-nspawn-expose.socket"
    systemctl restart cuda-nspawnd
    systemctl reload "cuda-nspawn@$eleven"
    is_attached "$eleven"
}

only_root_reaches_the_workers() {
    same "modes and owners" "$(cd /run/cuda-nspawn && stat --format='%n %a %U' work work/*.socket)" \
        $'work 700 root\nwork/expose.socket 600 root\nwork/look.socket 600 root'
}

_has_left() { [ "$(systemctl show --property=Result --property=ActiveState --value "cuda-nspawn-$1.service" | xargs)" = "success inactive" ]; }

a_worker_leaves_after_half_a_minute_without_a_request() {
    wait_until 45 _has_left expose
    wait_until 45 _has_left look
    systemctl reload "cuda-nspawn@$eleven"
    same "cuda-nspawn-expose.service" "$(systemctl is-active cuda-nspawn-expose.service)" active
    is_attached "$eleven"
}
