# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The daemon and its workers are killed at every step. What computes does not notice, the next start converges, nothing is left.
#
# strace(1) kills a process at the N-th system call of a kind that it makes: before the call, so that everything up to it is done
# and nothing after. N goes up until the process survives the whole operation.

mutations=mkdirat,mknodat,symlinkat,linkat,unlinkat,renameat,renameat2,fchmod,pwrite64

_is_traced() { [ "$(awk '$1 == "TracerPid:" { print $2 }' "/proc/$1/status")" != 0 ]; }

_trap_at() {    # PID SYSCALLS N
    strace --quiet=all --follow-forks --output=/dev/null --attach="$1" --trace="$2" --inject="$2:signal=KILL:when=$3" &
    tracer=$!
    wait_until 10 _is_traced "$1"
}

# Whether the process had to die; the tracer ends with it, or is told to let go.
_was_killed() {    # PID
    if [ -e "/proc/$1" ] && _is_traced "$1"; then
        kill "$tracer"
        wait "$tracer" || :
        return 1
    fi
    wait "$tracer" || :
}

# A worker that stays a while; one that is just asked for something.
_expose_pid() {
    cuda-nspawnctl plan "$by_unit" >/dev/null
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

# The operation with the process killed at each of its steps, undone in between without a kill.
_killed_at_each_step() {    # WHO SYSCALLS OPERATION UNDO
    local who=$1 calls=$2 operation=$3 undo=$4 step pid alive round belongings
    belongings=$(mktemp)
    "$operation"
    "$undo"
    "$operation"
    wait_until 10 _has_no_leaf
    _belongings >"$belongings"
    "$undo"
    for ((round = 0; round < rounds; round++)); do
        alive=''
        for ((step = 1; step < 200; step++)); do
            pid=$("$who")
            _trap_at "$pid" "$calls" "$step"
            "$operation"
            _was_killed "$pid" || alive=yes
            _is_as_it_should "$operation, killed at step $step ($calls)"
            [ -z "$alive" ] || break
            "$undo"
        done
        echo "$operation: $((step - 1)) steps"
        [ "$step" -gt 1 ]
        [ "$((round + 1))" -eq "$rounds" ] || "$undo"
    done
    rm "$belongings"
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
