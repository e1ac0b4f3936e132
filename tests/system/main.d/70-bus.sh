# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The API as busctl shows it, to root and to others.

busctl_shows_machines_GPUs_and_their_members() {
    local object
    _set_out
    object=$(object_of "$eleven")
    has "busctl tree" "$(busctl tree "$bus")" "$object" /org/cudanspawn1/gpu/GPU_
    has "busctl introspect" "$(busctl introspect "$bus" "$object")" "$bus.Machine" .Attach .Detach .SelfTest .VerdictText
    has "busctl introspect" "$(busctl introspect "$bus" /org/cudanspawn1)" .ListMachines .GetMachine .Plan .Refresh .Reload .JobRemoved
    has ListMachines "$(busctl call "$bus" /org/cudanspawn1 "$bus.Manager" ListMachines)" \
        "\"$eleven\" \"attached\" \"$object\"" "\"$thirteen\" \"attached\""
}

one_call_of_the_object_manager_is_the_whole_truth() {
    local all
    all=$(busctl --json=short call "$bus" /org/cudanspawn1 org.freedesktop.DBus.ObjectManager GetManagedObjects)
    has GetManagedObjects "$all" "$(object_of "$thirteen")" "\"Verdict\":{\"type\":\"s\",\"data\":\"passed\"}" \
        "\"Uuid\":{\"type\":\"s\",\"data\":\"$(gpu_field 0 uuid)\"}" "\"Machines\":{\"type\":\"as\",\"data\":[\"$thirteen\""
}

plan_says_what_attach_does_and_does_nothing() {
    local directory=/run/cuda-nspawn/machines/$thirteen plan
    same "Plan of what is as it shall be" "$(job_of Plan 'sa{sv}' "$thirteen" 0)" "a(sss) 0"
    rm "$directory/dev/nvidiactl"
    plan=$(job_of Plan 'sa{sv}' "$thirteen" 0)
    has Plan "$plan" "a(sss) 1 \"create\" \"$directory/dev/nvidiactl\""
    [ ! -e "$directory/dev/nvidiactl" ]
    has Attach "$(job_of Attach 'sa{sv}' "$thirteen" 2 fresh b true wait b true)" "${plan#a(sss) 1 }"
    [ -c "$directory/dev/nvidiactl" ]
    wait_until 20 property_is "$thirteen" Verdict passed
}

_changes() { job_of "$@" | sed -E 's/^(o "[^"]*" )?//; s/^oa\(sss\) "[^"]*" //; s/^a\(sss\) //'; }    # METHOD ARGUMENT…: COUNT CHANGE…

plan_says_all_that_the_verbs_then_answer() {
    local planned
    planned=$(_changes Plan 'sa{sv}' "$thirteen" 1 verb s detach)
    has "Plan of a detach" "$planned" "\"deny\" \"/dev/char/$(node_of 0)\"" "\"remove\" \"/run/cuda-nspawn/machines/$thirteen/dev/"
    is_attached "$thirteen"
    same "Detach" "$(_changes Detach 'sa{sv}' "$thirteen" 1 wait b true)" "$planned"
    same "Plan again" "$(_changes Plan 'sa{sv}' "$thirteen" 1 verb s detach)" 0
    planned=$(_changes Plan 'sa{sv}' "$thirteen" 0)
    has "Plan of an attach" "$planned" "\"allow\" \"/dev/char/$(node_of 0)\"" "\"create\" \"/run/cuda-nspawn/machines/$thirteen/dev/"
    same "Attach" "$(_changes Attach 'sa{sv}' "$thirteen" 1 wait b true)" "$planned"
    same "Plan again" "$(_changes Plan 'sa{sv}' "$thirteen" 0)" 0
    wait_until 20 property_is "$thirteen" Verdict passed

    machinectl poweroff "$thirteen" </dev/null
    wait_until 30 property_is "$thirteen" State ready
    planned=$(_changes Plan 'sa{sv}' "$thirteen" 1 start b true)
    has "Plan of a start" "$planned" "\"start\" \"systemd-nspawn@$thirteen.service\""
    same "Attach" "$(_changes Attach 'sa{sv}' "$thirteen" 2 start b true wait b true)" "$planned"
    same "Plan again" "$(_changes Plan 'sa{sv}' "$thirteen" 1 start b true)" 0
    wait_until 30 property_is "$thirteen" Verdict passed
}

plan_of_a_policy_shows_each_file_and_changes_none() {
    _two_gpus
    local drop_in=/run/systemd/system/systemd-nspawn@$thirteen.service.d/50-cuda-nspawn.conf plan before
    before=$(cat "$drop_in")
    plan=$(busctl --json=short call "$bus" /org/cudanspawn1 "$bus.Manager" Plan 'sa{sv}' "$thirteen" 2 diff b true policy s "gpus: [$other_gpu]")
    has Plan "$plan" "--- $drop_in\\n+++ $drop_in\\n@@" "-DeviceAllow=/dev/char/$(node_of 0) rw" "+DeviceAllow=/dev/char/$(node_of "$other_gpu") rw"
    same "the drop-in" "$(cat "$drop_in")" "$before"
    has "of a machine without a policy" "$(_changes Plan 'sa{sv}' nobody 1 policy s 'gpus: [0]')" "/run/cuda-nspawn/machines/nobody/dev/"
    [ ! -e /run/cuda-nspawn/machines/nobody ]
    has "of a text that is none" "$(refused job_of Plan 'sa{sv}' "$thirteen" 1 policy s 'gpu: 0' 2>&1)" "/$thirteen.yaml:1:"
    same "of none that goes" "$(_changes Plan 'sa{sv}' nobody 1 without_policy b true)" 0
}

# Its libcuda hangs, for the time of this case.
a_cancelled_self_test_leaves_nothing_in_the_guest() {
    local job pids pid
    install -D "$BUILD_DIR/tests/simulated/faults/hang/"libcuda.so.* "/var/lib/machines/$thirteen/opt/libcuda.so.1"
    echo /opt/libcuda.so.1 >"/var/lib/machines/$thirteen/etc/ld.so.preload"
    job=$(job_of SelfTest 'sa{sv}' "$thirteen" 0)
    job=${job#oss \"} job=${job%%\"*}
    wait_until 20 _runs_a_self_test "$thirteen"
    mapfile -t pids < <(_self_test_processes "$thirteen")
    same "the job" "$(busctl get-property "$bus" "$job" "$bus.Job" State Text | tr '\n' ' ')" 's "running" s "self-test" '
    busctl call "$bus" "$job" "$bus.Job" Cancel
    same "the job" "$(busctl get-property "$bus" "$job" "$bus.Job" State Result | tr '\n' ' ')" 's "ended" s "cancelled" '
    wait_until 10 _runs_no_self_test "$thirteen"
    for pid in "${pids[@]}"; do wait_until 5 test ! -e "/proc/$pid"; done
    rm "/var/lib/machines/$thirteen/etc/ld.so.preload" "/var/lib/machines/$thirteen/opt/libcuda.so.1"
    same Verdict "$(property "$thirteen" Verdict)" passed
    wait_until 10 property_has "$thirteen" StateText passed
    has "a second cancel" "$(refused busctl call "$bus" "$job" "$bus.Job" Cancel 2>&1)" "has ended already"
    has "the next one" "$(job_of SelfTest 'sa{sv}' "$thirteen" 1 wait b true)" '"passed"'
    _has_no_leaf "$thirteen"
}

# Of the self-test and what it starts, wherever in the guest.
_self_test_processes() {    # MACHINE
    local cgroup
    cgroup=/sys/fs/cgroup$(systemctl show --property=ControlGroup --value "$(unit_of "$1")")
    find "$cgroup/payload" -path '*/cuda-nspawn-worker-*/cgroup.procs' -exec cat {} +
}
_runs_a_self_test() { [ -n "$(_self_test_processes "$1")" ]; }       # MACHINE
_runs_no_self_test() { [ -z "$(_self_test_processes "$1")" ]; }      # MACHINE

a_self_test_answers_with_its_verdict_and_its_job_stays_readable() {
    local answer job
    answer=$(job_of SelfTest 'sa{sv}' "$thirteen" 1 wait b true)
    has SelfTest "$answer" '"passed" "passed: 1 GPU'
    job=${answer#oss \"} job=${job%%\"*}
    same "the job" "$(busctl get-property "$bus" "$job" "$bus.Job" State Result Kind | tr '\n' ' ')" 's "ended" s "done" s "self-test" '
}

wrong_calls_are_refused_by_name() {
    has "an option" "$(refused busctl call "$bus" /org/cudanspawn1 "$bus.Manager" Attach 'sa{sv}' "$thirteen" 1 colour s green 2>&1)" colour
    has "its type" "$(refused busctl call "$bus" /org/cudanspawn1 "$bus.Manager" Attach 'sa{sv}' "$thirteen" 1 wait s yes 2>&1)" wait
    has "a machine" "$(refused busctl call "$bus" /org/cudanspawn1 "$bus.Manager" SelfTest 'sa{sv}' nosuch 0 2>&1)" nosuch
    has "cuda-nspawnctl" "$(refused cuda-nspawnctl atach "$thirteen" 2>&1)" atach
}

_as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; }

everybody_may_read_and_others_than_root_may_change_nothing() {
    local verb
    has ListMachines "$(_as_nobody busctl call "$bus" /org/cudanspawn1 "$bus.Manager" ListMachines)" "$thirteen"
    has "a property" "$(_as_nobody busctl get-property "$bus" "$(object_of "$thirteen")" "$bus.Machine" Verdict)" passed
    _as_nobody cuda-nspawnctl status "$thirteen"
    for verb in Attach Detach SelfTest; do
        has "$verb" "$(refused _as_nobody busctl call "$bus" /org/cudanspawn1 "$bus.Manager" $verb 'sa{sv}' "$thirteen" 0 2>&1)" denied
        has "$verb of the machine" "$(refused _as_nobody busctl call "$bus" "$(object_of "$thirteen")" "$bus.Machine" $verb 'a{sv}' 0 2>&1)" denied
    done
    has "Refresh" "$(refused _as_nobody busctl call "$bus" /org/cudanspawn1 "$bus.Manager" Refresh 'a{sv}' 0 2>&1)" denied
    has "Reload" "$(refused _as_nobody busctl call "$bus" /org/cudanspawn1 "$bus.Manager" Reload 2>&1)" denied
    has "ListHolders" "$(refused _as_nobody busctl call "$bus" /org/cudanspawn1 "$bus.Manager" ListHolders s '' 2>&1)" denied
    has "a property" "$(refused _as_nobody busctl set-property "$bus" "$(object_of "$thirteen")" "$bus.Machine" State s ready 2>&1)" denied
    is_attached "$thirteen"
}

_is_heard() { job_of Attach 'sa{sv}' "$thirteen" 1 wait b true && grep -q JobRemoved "$1"; }

changes_are_signalled() {
    local signals monitor
    signals=$(mktemp)
    timeout 60 busctl monitor --json=short --match="type='signal',sender='$bus'" >"$signals" 2>&1 &
    monitor=$!
    wait_until 10 _is_heard "$signals"
    job_of Detach 'sa{sv}' "$thirteen" 1 wait b true
    job_of Attach 'sa{sv}' "$thirteen" 2 wait b true test b true
    wait_until 10 grep -q '"JobRemoved".*"done"' "$signals"
    wait_until 10 grep -q '"PropertiesChanged".*"State":{"type":"s","data":"detached"}' "$signals"
    wait_until 10 grep -q '"PropertiesChanged".*"Verdict":{"type":"s","data":"passed"}' "$signals"
    kill $monitor
    rm "$signals"
    # The unit was stopped with Detach and started with Attach.
    wait_until 10 systemctl --quiet is-active "cuda-nspawn@$thirteen"
}
