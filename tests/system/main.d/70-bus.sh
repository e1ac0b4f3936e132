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

everybody_may_read_and_only_root_may_change() {
    local verb
    has ListMachines "$(_as_nobody busctl call "$bus" /org/cudanspawn1 "$bus.Manager" ListMachines)" "$thirteen"
    has "a property" "$(_as_nobody busctl get-property "$bus" "$(object_of "$thirteen")" "$bus.Machine" Verdict)" passed
    _as_nobody cuda-nspawnctl status "$thirteen"
    for verb in Attach Detach SelfTest; do
        has "$verb" "$(refused _as_nobody busctl call "$bus" /org/cudanspawn1 "$bus.Manager" $verb 'sa{sv}' "$thirteen" 0 2>&1)" denied
        has "$verb of the machine" "$(refused _as_nobody busctl call "$bus" "$(object_of "$thirteen")" "$bus.Machine" $verb 'a{sv}' 0 2>&1)" denied
    done
    for verb in Refresh Reload; do
        has "$verb" "$(refused _as_nobody busctl call "$bus" /org/cudanspawn1 "$bus.Manager" $verb 2>&1)" denied
    done
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
