# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Waiting for jobs, leaving them, ending them; monitor.

progress_is_a_line_that_goes_on_a_terminal_and_nothing_elsewhere() {
    _piloted
    has "on a terminal" "$(_terminal "TERM=xterm cuda-nspawnctl attach --fresh --test $guest")" "attach $guest" "${escape}[K"
    lacks "on a dumb one" "$(_terminal "TERM=dumb cuda-nspawnctl attach --fresh --test $guest")" "attach $guest" "$escape"
    same "elsewhere" "$(cuda-nspawnctl attach --fresh --test "$guest" 2>&1 >/dev/null)" ""
}

_has_job() { busctl --json=short call org.cudanspawn1 /org/cudanspawn1 org.freedesktop.DBus.ObjectManager GetManagedObjects | grep -qF '"data":"running"'; }

interrupting_the_wait_leaves_the_job() {
    local log pid status=0 before
    _piloted
    before=$(property "$guest" LastSelfTest)
    log=$(mktemp)
    # Its self-test cannot end while the machine is frozen.
    trap 'systemctl thaw "$(unit_of "$guest")"' EXIT
    systemctl freeze "$(unit_of "$guest")"
    cuda-nspawnctl attach --fresh --test "$guest" >"$log" 2>&1 &
    pid=$!
    wait_until 10 _has_job
    kill -INT $pid
    wait $pid || status=$?
    same "the exit status" "$status" 130
    has "what is said" "$(cat "$log")" "goes on. To cancel it: cuda-nspawnctl cancel $guest"
    _has_job
    systemctl thaw "$(unit_of "$guest")"
    wait_until 20 _was_tested_since "$before"
    rm "$log"
}

_was_tested_since() { [ "$(property "$guest" LastSelfTest)" != "$1" ] && property_is "$guest" Verdict passed; }    # TIME

cancel_ends_the_jobs_of_a_machine() {
    local log pid status=0
    _piloted
    log=$(mktemp)
    # Its self-test cannot end while the machine is frozen.
    trap 'systemctl thaw "$(unit_of "$guest")"' EXIT
    systemctl freeze "$(unit_of "$guest")"
    cuda-nspawnctl attach --fresh --test "$guest" >"$log" 2>&1 &
    pid=$!
    wait_until 10 cuda-nspawnctl cancel "$guest"
    wait $pid || status=$?
    same "the exit status" "$status" 1
    has "what is said" "$(cat "$log")" cancel
    has "when nothing runs" "$(refused cuda-nspawnctl cancel "$guest" 2>&1)" "has no job that runs"
    has "a job that is not there" "$(refused cuda-nspawnctl cancel 999999 2>&1)" 999999
    rm "$log"
}

ended_by_SIGTERM_an_attach_that_shall_detach_takes_back_what_it_gave() {
    local log pid status=0
    _piloted
    log=$(mktemp)
    trap 'systemctl thaw "$(unit_of "$guest")"' EXIT
    systemctl freeze "$(unit_of "$guest")"
    cuda-nspawnctl attach --fresh --test --or-detach "$guest" >"$log" 2>&1 &
    pid=$!
    wait_until 10 _has_job
    kill -TERM $pid
    wait $pid || status=$?
    same "the exit status" "$status" 0
    has "what is said" "$(cat "$log")" "deny "
    same State "$(property "$guest" State)" detached
    rm "$log"
}

_heard() { grep -qE "$2" "$1"; }    # FILE PATTERN
_monitor_hears() { cuda-nspawnctl attach --fresh "$guest" >/dev/null && _heard "$1" attach; }    # FILE

monitor_tells_what_happens() {
    local log json pid json_pid status=0
    _piloted
    log=$(mktemp) json=$(mktemp)
    cuda-nspawnctl monitor >"$log" 2>&1 &
    pid=$!
    cuda-nspawnctl monitor --json "$guest" >"$json" 2>&1 &
    json_pid=$!
    wait_until 20 _monitor_hears "$log"
    wait_until 20 _monitor_hears "$json"
    cuda-nspawnctl detach "$guest"
    cuda-nspawnctl attach --test "$guest"
    wait_until 10 _heard "$log" "^[0-9:]{8} $guest: detached: "
    wait_until 10 _heard "$log" "^[0-9:]{8} $guest: attached: "
    wait_until 10 _heard "$log" "^[0-9:]{8} $guest: job [0-9]+ detach began"
    wait_until 10 _heard "$log" "^[0-9:]{8} $guest: job [0-9]+ attach done: "
    wait_until 10 _heard "$log" "^[0-9:]{8} GPU 0 .*: in $idle"
    rm "$policies/$idle.yaml"
    wait_until 10 _heard "$log" "^[0-9:]{8} $idle: has no policy any more"
    kill -INT $pid
    wait $pid || status=$?
    same "its exit status" "$status" 0
    kill -TERM $json_pid
    wait $json_pid
    _is_plain monitor "$(cat "$log")"
    same "as JSON" "$(python3 -c 'import json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
print({e["machine"] for e in events}, any(e.get("state") == "detached" for e in events if e["event"] == "machine"), all(e["time"] > 0 for e in events))' "$json")" \
        "{'$guest'} True True"
    rm "$log" "$json"
}
