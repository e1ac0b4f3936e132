# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# check: policies before they are put in place. plan: what they would do.

_written() {    # NAME LINE…: a policy in a directory of its own; prints its path
    local path=/tmp/ctl-policies/$1
    mkdir -p /tmp/ctl-policies
    printf '%s\n' "${@:2}" >"$path"
    echo "$path"
}

check_tells_every_mistake_with_line_and_column() {
    local bad good printed
    bad=$(_written bad.yaml 'gpus: [0, nonsense]' 'self_tset: quick' 'on_failure: explode')
    good=$(_written good.yaml 'gpus: [0]')
    same "of a good one" "$(cuda-nspawnctl check "$good")" "$good: valid"
    printed=$(refused cuda-nspawnctl check "$bad" "$good")
    has check "$printed" "$bad:1:11: " "$bad:2:1: " self_test "$bad:3:13: " "$good: valid"
    same "its exit status" "$(_status_of cuda-nspawnctl check "$bad" "$good")" 1
    same "as JSON" "$(refused cuda-nspawnctl check --json "$bad" "$good" | _from_json '[f["valid"] for f in d], [(e["line"], e["column"]) for e in d[0]["errors"]]')" \
        "([False, True], [(1, 11), (2, 1), (3, 13)])"
    has "a file that is not there" "$(refused cuda-nspawnctl check /tmp/ctl-policies/nosuch.yaml)" "/tmp/ctl-policies/nosuch.yaml: "
    has "a directory" "$(refused cuda-nspawnctl check /tmp/ctl-policies)" "cannot be read"
    has "a name that no machine has" "$(refused cuda-nspawnctl check "$(_written under_score.yaml 'gpus: all')")" under_score
    rm -r /tmp/ctl-policies
}

check_takes_a_file_of_any_name_for_a_machine() {
    local file
    file=$(_written tmp.X7 'gpus: [0]')
    refused cuda-nspawnctl check "$file"
    same "with its machine" "$(cuda-nspawnctl check --machine "$guest" "$file")" "$file: valid"
    same "from a pipe" "$(echo 'gpus: none' | cuda-nspawnctl check -)" "-: valid"
    has "from a pipe" "$(echo 'gpus: some' | refused cuda-nspawnctl check -)" "-:1:7: "
    has "defaults" "$(cuda-nspawnctl check "$(_written defaults.yaml 'self_test: full')")" ": valid"
    rm -r /tmp/ctl-policies
}

check_warns_of_GPUs_that_this_host_does_not_have() {
    local file
    _piloted
    file=$(_written far.yaml 'gpus: [0, 77, GPU-00000000-1111-2222-3333-444444444444]')
    has check "$(cuda-nspawnctl check "$file")" "warning: This host has no GPU 77" "no GPU GPU-00000000-1111-2222-3333-444444444444"
    same "it is no error" "$(_status_of cuda-nspawnctl check "$file")" 0
    rm -r /tmp/ctl-policies
}

check_wants_no_daemon_and_starts_none() {
    local file
    file=$(_written far.yaml 'gpus: [77]')
    systemctl stop cuda-nspawnd
    same "without a daemon" "$(cuda-nspawnctl check "$file")" "$file: valid"
    same "the daemon" "$(systemctl is-active cuda-nspawnd)" inactive
    systemctl start cuda-nspawnd
    rm -r /tmp/ctl-policies
}

plan_tells_by_its_exit_status_whether_something_would_change() {
    local directory=/run/cuda-nspawn/machines/$guest printed
    _piloted
    same "nothing" "$(cuda-nspawnctl plan "$guest")" "nothing to change"
    rm "$directory/dev/nvidiactl"
    same "something" "$(_status_of cuda-nspawnctl plan "$guest")" 3
    has "something" "$(refused cuda-nspawnctl plan "$guest")" "create   $directory/dev/nvidiactl"
    [ ! -e "$directory/dev/nvidiactl" ]
    cuda-nspawnctl attach --fresh "$guest"
    printed=$(refused cuda-nspawnctl plan --detach "$guest")
    has "plan --detach" "$printed" "deny "
    _is_plain "plan --detach" "$printed"
    same "the machine" "$(property "$guest" State)" attached
    same "as JSON" "$(refused cuda-nspawnctl plan --detach --json "$guest" | _from_json 'd["verb"], d["machine"], "deny" in [c["type"] for c in d["changes"]]')" \
        "('detach', '$guest', True)"
}

plan_shows_the_diff_of_each_file_for_a_policy_that_is_not_in_place() {
    local printed
    _two_gpus
    _piloted
    printed=$(echo 'gpus: [1]' | refused cuda-nspawnctl plan --policy - "$guest")
    has "plan --policy" "$printed" "--- " "+++ " "@@ "
    has "on a terminal" "$(_terminal "echo 'gpus: [1]' | TERM=xterm cuda-nspawnctl plan --policy - $guest")" "${escape}[1;32m+" "${escape}[1;31m-"
    has "without a policy" "$(refused cuda-nspawnctl plan --without-policy "$guest")" "remove "
    has "of a machine without one" "$(echo 'gpus: [1]' | refused cuda-nspawnctl plan --policy - nopolicy)" "create "
    has "with a mistake" "$(echo 'gpus: some' | refused cuda-nspawnctl plan --policy - "$guest" 2>&1)" "-:1:7: "
    same "which is told of the file that was given" "$(echo 'gpus: some' | refused cuda-nspawnctl plan --policy - "$guest" 2>&1 | grep -c /etc/)" 0
    is_attached "$guest"
}
