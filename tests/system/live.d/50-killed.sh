# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The daemon and its workers are killed at every step. What computes does not notice, the next start converges, nothing is left.
#
# strace(1) writes down the state-changing system calls of one whole operation, then kills the process at each of them in
# turn: before the call, so that everything up to it is done and nothing after.

mutations=mkdirat,mknodat,symlinkat,linkat,unlinkat,renameat,renameat2,fchmod,pwrite64

_is_traced() { [ "$(awk '$1 == "TracerPid:" { print $2 }' "/proc/$1/status")" != 0 ]; }

_trace() {    # PID SYSCALLS OUTPUT [OPTION]
    # shellcheck disable=SC2086 # nothing, or one word
    strace --quiet=all --follow-forks --output="$3" --attach="$1" --trace="$2" ${4:-} &
    tracer=$!
    wait_until 10 _is_traced "$1"
}

# The state-changing calls of a process of which a trace was written, each as the option that kills at just this one: in the
# process itself, and with `forks` in what it forks. Of what is done over and over, as for each file of the driver, all
# are for the soak.
_steps_in() {    # TRACE
    awk -v forks="${forks:-}" -v all=$((rounds > 1)) '
        $2 ~ /^[a-z0-9_]+\(/ {
            call = $2
            sub(/\(.*/, "", call)
            if (!first) first = $1
            number = ++count[$1, call]
            if (!all && number > 4 && number != 8 && number != 16 && number != 32) next
            kill = "--inject=" call ":signal=KILL:when=" number
            if ($1 == first) print kill
            else if (forks && !seen[kill]++) print "--follow-forks " kill
        }' "$1"
}

# The tracer ends with the process, or is told to let go. Whether that one had to die.
_was_killed() {    # PID
    local killed=yes
    if [ -e "/proc/$1" ] && _is_traced "$1"; then
        kill "$tracer"
        killed=''
    fi
    wait "$tracer" || :
    [ -n "$killed" ]
}

# A worker that stays a while; one that is just asked for something.
_expose_pid() {
    [[ $(cuda-nspawnctl plan --json "$by_unit") == *'"changes":'* ]]    # its exit status says whether there are any
    systemctl show --property=MainPID --value cuda-nspawn-expose.service
}

_has_no_leaf() { [ -z "$(find /sys/fs/cgroup -type d -name 'cuda-nspawn-worker*')" ]; }

_is_given() { property_is "$1" State attached && property_is "$1" Verdict passed && _nodes_are_there "$1"; }
_nodes_are_there() { [ -c "/run/cuda-nspawn/machines/$1/dev/nvidiactl" ]; }
_is_taken() { property_is "$1" State blocked && [ -z "$(find "/run/cuda-nspawn/machines/$1/dev" -type c)" ]; }
_is_detached() { property_is "$1" State detached && [ -z "$(find "/run/cuda-nspawn/machines/$1/dev" -type c)" ]; }

_give() { policy "$by_unit" 'gpus: [0]'; wait_until 30 _is_given "$by_unit"; }
_take() { policy "$by_unit" 'gpus: none'; wait_until 30 _is_taken "$by_unit"; }
_swap() {
    swapped=$((swapped + 1))
    _driver --version "999.$((100 + swapped % 2)).00"
    wait_until 30 _has_version "$by_unit" "999.$((100 + swapped % 2)).00"
    wait_until 30 _is_given "$by_unit"
    wait_until 30 _has_version "$by_hand" "999.$((100 + swapped % 2)).00"
    wait_until 30 _is_given "$by_hand"
}
swapped=0

_is_as_it_should() {    # WHEN
    # A self-test may be under way still.
    wait_until 10 _belongs_as_in "$belongings" || { echo "$1: what is there differs"; _belongs_as_in "$belongings"; }
    _computes_undisturbed "$by_hand"
}

# The operation with the process killed at each of its steps, undone in between without a kill. Which calls there are, and
# how many, differs a little from one time to the next, so that a late one may not be reached.
_killed_at_each_step() {    # WHO SYSCALLS OPERATION UNDO
    local who=$1 calls=$2 operation=$3 undo=$4 step pid round belongings trace deaths=0
    local -a steps
    belongings=$(mktemp) trace=$(mktemp)
    "$operation"
    "$undo"
    pid=$("$who")
    _trace "$pid" "$calls" "$trace"
    "$operation"
    _was_killed "$pid" || :
    mapfile -t steps < <(_steps_in "$trace")
    wait_until 10 _has_no_leaf
    _belongings >"$belongings"
    for ((round = 0; round < rounds; round++)); do
        for step in "${steps[@]}"; do
            "$undo"
            pid=$("$who")
            _trace "$pid" "$calls" /dev/null "$step"
            "$operation"
            if _was_killed "$pid"; then deaths=$((deaths + 1)); fi
            _is_as_it_should "$operation, killed at $step"
        done
    done
    echo "$operation: ${#steps[@]} steps, $deaths deaths"
    [ "$deaths" -gt $((${#steps[@]} * rounds / 2)) ]
    rm "$belongings" "$trace"
}

# Where each of these cases begins: all are attached and one computes, from the first case to the last.
_ready_to_kill() {
    _simulated_only
    command -v strace >/dev/null || skip "wants strace"
    if [ -e /run/systemd/system/cuda-nspawnd.service.d/often.conf ]; then return; fi
    _all_are_attached
    _begin_computing "$by_hand"
    # Many starts in a short time, as they are made here; and no waiting between them.
    mkdir -p /run/systemd/system/cuda-nspawnd.service.d
    printf '%s\n' '[Unit]' StartLimitIntervalSec=0 '[Service]' RestartSec=20ms >/run/systemd/system/cuda-nspawnd.service.d/often.conf
    systemctl daemon-reload
}

a_worker_that_is_killed_at_any_step_of_an_attach_harms_nothing() {
    _ready_to_kill
    _killed_at_each_step _expose_pid "$mutations" _give _take
}

a_worker_that_is_killed_at_any_step_of_a_detach_harms_nothing() {
    _ready_to_kill
    _killed_at_each_step _expose_pid "$mutations" _take _give
    _give
}

a_worker_that_is_killed_at_any_step_of_a_swap_harms_nothing() {
    _ready_to_kill
    _killed_at_each_step _expose_pid "$mutations" _swap true
}

# The daemon acts by the messages it sends and the files it writes.
_daemon_steps=sendmsg,renameat,rename,connect

a_daemon_that_is_killed_at_any_step_of_an_attach_or_a_detach_harms_nothing() {
    _ready_to_kill
    _killed_at_each_step _daemon_pid "$_daemon_steps" _give _take
    _killed_at_each_step _daemon_pid "$_daemon_steps" _take _give
    _give
}

a_daemon_that_is_killed_at_any_step_of_a_swap_harms_nothing() {
    _ready_to_kill
    _killed_at_each_step _daemon_pid "$_daemon_steps" _swap true
}

# A call is answered or fails, and its wish is not lost: the unit and the machine agree.
_stop_and_start_our_unit() { systemctl stop "cuda-nspawn@$by_unit" && wait_until 30 _is_detached "$by_unit" && _start_our_unit; }
_start_our_unit() { systemctl start "cuda-nspawn@$by_unit" && wait_until 30 _is_given "$by_unit"; }

a_daemon_that_is_killed_while_systemctl_waits_for_it_loses_no_wish() {
    _ready_to_kill
    _killed_at_each_step _daemon_pid "$_daemon_steps" _stop_and_start_our_unit true
}
