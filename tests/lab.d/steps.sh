# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of tests/lab share its variables
# Steps: what takes long runs as a step, with a title, a log file and visible progress.
#
#   step_start TITLE COMMAND…    starts one beside what already runs
#   steps_finish                 waits for all; shows progress; false if one failed
#   step TITLE COMMAND…          both, for one
#
# A step is a process group of its own, so that ending it ends everything in it, and its standard input is
# empty. The shell itself only sleeps for moments, so that a signal is answered at once and not when a step ends.

step_pids=() step_titles=() step_logs=() step_begins=()
steps_failed=()                          # titles of the failed ones, of the last steps_finish
steps_total=0

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "lab: $*"
    exit 1
}

usage_error() {
    say "lab: $*"
    say "Try: $0 --help"
    exit 2
}

now_ms() { local t=${EPOCHREALTIME/[.,]/}; printf '%s' "${t%???}"; }

seconds_since() {
    local ms=$(($(now_ms) - $1))
    printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

step_start() {
    local title=$1 log
    shift
    steps_total=$((steps_total + 1))
    log=$log_dir/$(printf '%02d' "$steps_total")-${title//[^a-zA-Z0-9]/-}.log
    set -m
    ("$@") </dev/null >"$log" 2>&1 &
    set +m
    step_pids+=($!) step_titles+=("$title") step_logs+=("$log") step_begins+=("$(now_ms)")
}

# Called when a step ended, with title, log and exit status. Suites print their closing line by it, and start what is next.
step_ended() { :; }

step_line() {    # MARK TITLE REST
    [ -t 2 ] && printf '\r\033[K' >&2
    printf '%s %-28s %s\n' "$1" "$2" "$3" >&2
}

step_failure() {    # TITLE LOG STATUS
    say "--- the end of $2:"
    tail -n 40 "$2" | sed 's/^/    /' >&2
    say "--- lab: step \"$1\" failed (exit status $3); the whole log: $2"
}

# One line that tells what is running. On a terminal it is rewritten in place; elsewhere a line every half minute.
steps_progress() {    # RUNNING-INDEXES…
    local i line="" last width
    for i; do line+="${line:+ · }${step_titles[i]} $(seconds_since "${step_begins[i]}")"; done
    if [ -t 2 ]; then
        last=$(tail -c 400 "${step_logs[$1]}" 2>/dev/null | tr -d '\r' | tr -c '[:print:]\n' '?' | tail -n 1)
        line="… $line   $last"
        width=$(stty size <&2 2>/dev/null) && width=${width#* }
        [ "${width:-0}" -gt 20 ] || width=80
        printf '\r\033[K%s' "${line:0:width-1}" >&2
    elif [ $(($(now_ms) - steps_shown)) -ge 30000 ]; then
        steps_shown=$(now_ms)
        say "… $line"
    fi
}

steps_finish() {
    local i title log took status running
    steps_failed=()
    steps_shown=$(now_ms) steps_shown_first=$steps_shown
    while [ ${#step_pids[@]} -gt 0 ]; do
        running=()
        for i in "${!step_pids[@]}"; do
            if kill -0 "${step_pids[i]}" 2>/dev/null; then
                running+=("$i")
                continue
            fi
            title=${step_titles[i]} log=${step_logs[i]} took=$(seconds_since "${step_begins[i]}") status=0
            wait "${step_pids[i]}" 2>/dev/null || status=$?
            # All of them, since what is started next takes the index that is free at the end of each.
            unset "step_pids[i]" "step_titles[i]" "step_logs[i]" "step_begins[i]"
            if [ $status -eq 0 ]; then
                step_line '✓' "$title" "$took"
            else
                step_line '✗' "$title" "$took"
                step_failure "$title" "$log" "$status"
                steps_failed+=("$title")
            fi
            step_ended "$title" "$log" $status
        done
        [ ${#running[@]} -gt 0 ] || continue
        steps_progress "${running[@]}"
        # Short steps should not wait for us, long ones should not be watched closely.
        if [ $(($(now_ms) - steps_shown_first)) -lt 3000 ]; then sleep 0.03; else sleep 0.2; fi
    done
    step_pids=() step_titles=() step_logs=() step_begins=()
    [ ${#steps_failed[@]} -eq 0 ]
}

step() {
    step_start "$@"
    steps_finish
}

# Ends every step that still runs: asks, waits, insists.
steps_abort() {
    local pid tries=0
    for pid in "${step_pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null; done
    for pid in "${step_pids[@]}"; do
        while kill -0 -- "-$pid" 2>/dev/null && [ $((tries++)) -lt 50 ]; do sleep 0.1; done
        kill -KILL -- "-$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    step_pids=()
}
