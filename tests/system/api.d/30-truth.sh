# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What is shown is what is installed, all there is, and told when it changes.

_gpu_objects() { busctl tree --list "$bus" | grep /org/cudanspawn1/gpu/; }

_job_in() { local answer=${1#*\"}; printf '%s' "${answer%%\"*}"; }    # ANSWER

the_installed_interfaces_are_those_of_the_objects() {
    local job
    _need_python
    _trainer
    job=$(_job_in "$(_call Attach 'sa{sv}' "$trainer" 0)")
    python3 api.d/introspection.py "$interfaces" /org/cudanspawn1 "$(object_of "$trainer")" "$(_gpu_objects | head -n 1)" "$job"
}

one_call_is_the_whole_truth() {
    local job
    _need_python
    _trainer
    job=$(_job_in "$(_call Attach 'sa{sv}' "$trainer" 0)")
    same "the GPUs" "$(_gpu_objects | wc -l)" "$gpus"
    busctl --json=short call "$bus" /org/cudanspawn1 org.freedesktop.DBus.ObjectManager GetManagedObjects |
        python3 api.d/truth.py "$interfaces" "$(object_of "$trainer")" "$(object_of "$second")" "$job" "$(_gpu_objects | head -n 1)"
}

a_bystander_hears_what_changes() {
    local heard monitor
    _need_python
    _running_trainer
    heard=$(mktemp)
    "${nobody[@]}" timeout 60 python3 api.d/listen.py >"$heard" 2>&1 &
    monitor=$!
    wait_until 10 grep -q ready "$heard"
    _call Detach 'sa{sv}' "$trainer" 1 wait b true
    wait_until 10 grep -q "PropertiesChanged /org/cudanspawn1/machine/$trainer .*'State': 'detached'" "$heard"
    wait_until 10 grep -q "PropertiesChanged /org/cudanspawn1/gpu/.*'Machines': \[\]\|'Machines': \['$second'\]" "$heard"
    _call Attach 'sa{sv}' "$trainer" 2 wait b true test b true
    wait_until 10 grep -q "PropertiesChanged /org/cudanspawn1/machine/$trainer .*'State': 'attached'" "$heard"
    wait_until 10 grep -q "PropertiesChanged /org/cudanspawn1/gpu/.*'Machines': \[.*'$trainer'" "$heard"
    wait_until 10 grep -q "JobRemoved .*'done'" "$heard"
    kill $monitor
    rm "$heard"
}

a_call_that_waits_answers_with_the_outcome() {
    local answer
    _running_trainer
    answer=$(_call Detach 'sa{sv}' "$trainer" 1 wait b true)
    has Detach "$answer" '"deny" "/dev/char/' '"remove"'
    same "the state" "$(property "$trainer" State)" detached
    answer=$(_call Attach 'sa{sv}' "$trainer" 2 wait b true test b true)
    has Attach "$answer" '"allow" "/dev/char/' '"create"'
    same "the verdict" "$(property "$trainer" Verdict)" passed
    has SelfTest "$(_call SelfTest 'sa{sv}' "$trainer" 1 wait b true)" '"passed" "passed: '
    has "one that fails" "$(_try _call Attach 'sa{sv}' "$second" 2 start b true wait b true)" "$second"
}

_state_of_job() { busctl get-property "$bus" "$1" "$bus.Job" State; }
_newest_job_runs() { [[ $(_state_of_job "$(_jobs | sort -V | tail -n 1)") == *running* ]]; }

a_caller_that_is_killed_cancels_nothing() {
    local caller
    _trainer
    end_machines "$trainer"
    wait_until 10 property_is "$trainer" State ready
    busctl --timeout=60 call "$bus" /org/cudanspawn1 "$manager" Attach 'sa{sv}' "$trainer" 3 start b true test b true wait b true &
    caller=$!
    wait_until 10 _newest_job_runs
    kill -KILL $caller
    wait_until 60 property_is "$trainer" State attached
    wait_until 60 property_is "$trainer" Verdict passed
    end_machines "$trainer"
}
