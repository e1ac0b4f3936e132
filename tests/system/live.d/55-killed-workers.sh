# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Workers that live for one request are killed at every step. PID 1 starts them, so strace(1) cannot be attached in time: a
# drop-in of the unit's template starts them under it, as often as there are tokens; further starts are as always.
#
# A worker that was killed is started again, twice at most, and what was asked for comes true by itself. Killed at every
# try, it makes the step fail, which is told; the next wish mends it.

traps=/run/killed

_set_traps() {    # VERB SYSCALLS
    local unit=/run/systemd/system/cuda-nspawn-$1@.service.d
    rm -rf /run/systemd/system/cuda-nspawn-*@.service.d
    mkdir -p "$traps" "$unit"
    echo "$2" >"$traps/calls"
    cat >"$traps/start" <<'END_OF_START'
# VERB ID: run by the unit in place of the worker. A token has strace's options.
worker=/usr/lib/cuda-nspawn/cuda-nspawn-worker
cd /run/killed || exit
for token in token.*; do
    # Who cannot take it away was too late.
    if options=$(cat "$token") && rm "$token"; then
        # shellcheck disable=SC2086 # words
        exec strace --quiet=all --detach-on=execve --output="$2.trace" --trace="$(cat calls)" $options "$worker" "$1" "$2"
    fi 2>/dev/null
done
exec "$worker" "$1" "$2"
END_OF_START
    # The sandbox stays as it is, but for the place of the tokens and, where calls are filtered, what strace needs.
    printf '%s\n' '[Service]' ExecStart= "ExecStart=/bin/sh $traps/start $1 %i" "ReadWritePaths=$traps" >"$unit/killed.conf"
    ! grep -q '^SystemCallFilter=' "/usr/lib/systemd/system/cuda-nspawn-$1@.service" ||
        echo SystemCallFilter=@debug >>"$unit/killed.conf"
    systemctl daemon-reload
}

# The next workers are started with these options of strace's.
_arm() {    # OPTIONS…
    local token=0 options
    rm -f "$traps"/token.* "$traps"/*.trace
    for options; do
        echo "$options" >"$traps/.new"
        mv "$traps/.new" "$traps/token.$((token++))"
    done
}

_deaths() { cat "$traps"/*.trace | grep -c '+++ killed by SIGKILL +++' || :; }

# The operation without a kill: it leaves what is to be there in `belongings`, and in `steps` those of the worker, or of the
# one that comes after SKIP others.
_learn_steps() {    # VERB SYSCALLS OPERATION SKIP
    local traces
    _set_traps "$1" "$2"
    "$3"
    mapfile -t passed < <(yes -- --follow-forks | head -n "$4")
    _arm "${passed[@]}" --follow-forks
    "$3"
    wait_until 10 _has_no_leaf
    belongings=$traps/belongings
    _belongings >"$belongings"
    mapfile -t traces < <(find "$traps" -name "$1-*.trace" | sort -V)
    mapfile -t steps < <(_steps_in "${traces[$4]}")
    echo "$3: ${#steps[@]} steps of $1"
    [ "${#steps[@]}" -gt 0 ]
}

# The operation with its worker killed at each step, two steps at a time, as the third try is the last.
_worker_killed_at_each_step() {    # VERB SYSCALLS OPERATION [SKIP]
    local step round belongings steps passed
    _learn_steps "$1" "$2" "$3" "${4:-0}"
    for ((round = 0; round < rounds; round++)); do
        for ((step = 0; step < ${#steps[@]}; step += 2)); do
            _arm "${passed[@]}" "${steps[@]:step:2}"
            "$3"
            [ "$(_deaths)" -ge 1 ]
            _is_as_it_should "$3, $1 killed at ${steps[*]:step:2}"
        done
    done
    _arm
}

# Every try of it is killed at the same step: FAILING tells it, nothing else is touched, and OPERATION mends it.
_worker_killed_at_every_try() {    # VERB SYSCALLS OPERATION FAILING STEP…
    local step belongings steps passed
    _learn_steps "$1" "$2" "$3" 0
    for step in "${@:5}"; do
        step=${steps[step]}
        _arm "$step" "$step" "$step"
        "$4"
        same "$4: workers killed, $step" "$(_deaths)" 3
        _computes_undisturbed "$by_hand"
        _arm
        "$3"
        _is_as_it_should "$3, after $1 was killed three times, $step"
    done
}

# --- mount -----------------------------------------------------------------------------------------------------------

# What came later a guest can unmount, so it is started without our settings.
_ready_to_unmount() {
    _ready_to_kill
    if [ -e "$traps/unmountable" ]; then return; fi
    end_machines "$by_unit"
    rm "$policies/$by_unit.yaml"
    wait_until 10 test ! -e "/run/systemd/nspawn/$by_unit.nspawn"
    boot "$by_unit"
    policy "$by_unit" 'gpus: [0]'
    wait_for_verdict "$by_unit" 0
    mkdir -p "$traps"
    touch "$traps/unmountable"
}

_unmount() { in_guest "$by_unit" umount --quiet --lazy /run/cuda-nspawn /run/cuda-nspawn-store || :; }
_mount() {
    _unmount
    systemctl reload "cuda-nspawn@$by_unit"
    is_attached "$by_unit"
    same "our mounts in $by_unit" "$(in_guest "$by_unit" grep -c ' /run/cuda-nspawn' /proc/self/mountinfo)" 2
}
_mount_fails() {
    _unmount
    refused systemctl reload "cuda-nspawn@$by_unit"
    property_has "$by_unit" StateText 'cuda-nspawn-mount@'
}

_mount_steps=open_tree,mount_setattr,setns,mkdirat,mkdir,move_mount,unlinkat,write,writev,rename

a_worker_that_is_killed_at_any_step_of_a_mount_harms_nothing() {
    _ready_to_unmount
    forks=yes _worker_killed_at_each_step mount "$_mount_steps" _mount
}

a_mount_whose_worker_is_killed_at_every_try_is_done_at_the_next_wish() {
    _ready_to_unmount
    _worker_killed_at_every_try mount "$_mount_steps" _mount _mount_fails 0 4 8
}

# --- test ------------------------------------------------------------------------------------------------------------

_test() {
    cuda-nspawnctl test "$by_unit"
    _is_given "$by_unit"
}
_test_fails() {
    refused cuda-nspawnctl test "$by_unit"
    property_has "$by_unit" StateText 'cuda-nspawn-test@'
}

# Not in what it forks: that is in the guest's cgroup, where the guest may kill it, and says so in the verdict.
_test_steps=mkdirat,mkdir,mknodat,fsopen,fsmount,setns,memfd_create,unlinkat,write,writev,rename

a_worker_that_is_killed_at_any_step_of_a_self_test_harms_nothing() {
    _ready_to_kill
    _worker_killed_at_each_step test "$_test_steps" _test
}

a_self_test_whose_worker_is_killed_at_every_try_is_done_at_the_next_wish() {
    _ready_to_kill
    _worker_killed_at_every_try test "$_test_steps" _test _test_fails 0 4 8
}

# root has 128 of them by default, and a running guest takes eight.
a_self_test_is_done_where_all_inotify_instances_are_taken() {
    _ready_to_kill
    _set_traps test inotify_init1
    _arm --inject=inotify_init1:error=EMFILE
    _test
    grep 'EMFILE.*INJECTED' "$traps"/test-*.trace
}

# --- store -----------------------------------------------------------------------------------------------------------

_swap_and_collect() {
    _swap
    wait_until 10 _store_has_only "999.$((100 + swapped % 2)).00"
}
# The driver is looked at once more a second later, so it may be there before anybody asks.
_swap_fails() {
    local before
    before=$(_failed_copies)
    _driver --version "999.$((100 + (swapped + 1) % 2)).00"
    wait_until 20 _three_died
    wait_until 10 _another_copy_failed "$before"
    sees_exactly "$by_unit" 0
}
_failed_copies() { journalctl --output=cat --unit=cuda-nspawnd | grep -c "the driver's files could not be copied to the store" || :; }
_another_copy_failed() { [ "$(_failed_copies)" -gt "$1" ]; }    # COUNT-BEFORE
_three_died() { [ "$(_deaths)" -eq 3 ]; }

_store_steps=mkdir,mkdirat,symlink,symlinkat,fchmod,chmod,copy_file_range,unlinkat,rename

a_worker_that_is_killed_at_any_step_of_a_copy_of_the_driver_harms_nothing() {
    _ready_to_kill
    _worker_killed_at_each_step store "$_store_steps" _swap_and_collect
}

a_worker_that_is_killed_at_any_step_of_removing_the_old_driver_harms_nothing() {
    _ready_to_kill
    _worker_killed_at_each_step store "$_store_steps" _swap_and_collect 1
}

a_driver_whose_copy_is_killed_at_every_try_is_there_after_a_refresh() {
    _ready_to_kill
    _worker_killed_at_every_try store "$_store_steps" _swap_and_collect _swap_fails 0 12
}

# --- holders ---------------------------------------------------------------------------------------------------------

_holders() { has "cuda-nspawnctl holders" "$(cuda-nspawnctl holders "$by_hand" | tr -s ' ')" ' compute '; }

a_worker_that_is_killed_while_it_looks_for_holders_harms_nothing() {
    _ready_to_kill
    _worker_killed_at_each_step holders write,writev,rename _holders
}

# --- the end ---------------------------------------------------------------------------------------------------------

_has_no_requests() { [ -z "$(find /run/cuda-nspawn/work -type f)" ]; }

what_was_killed_has_left_nothing() {
    [ -e /run/systemd/system/cuda-nspawnd.service.d/often.conf ] || skip "nothing was killed"
    _stop_computing "$by_hand"
    rm -rf "$traps" /run/systemd/system/cuda-nspawn{d,-mount@,-store@,-test@,-holders@}.service.d
    systemctl daemon-reload
    _driver --gpus 3
    same "half-made files" "$(find /run/cuda-nspawn /run/systemd /var/lib/cuda-nspawn -name '*.new' -o -name '*cuda-nspawn~')" ""
    wait_until 60 _has_no_requests    # those of the last self-tests
    wait_until 20 _store_has_only 999.42.01
}
