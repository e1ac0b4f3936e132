# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# list, status, attach, detach, test, holders: machines, and what is done with them.

attach_prints_what_it_changed_and_how_the_machine_is() {
    local printed
    _make trixie "$guest"
    policy "$guest" 'gpus: [0]'
    policy "$idle" 'gpus: [0]'
    printed=$(cuda-nspawnctl attach --start --test "$guest")
    _is_plain attach "$printed"
    has attach "$printed" "$guest: passed: 1 GPU"
    is_attached "$guest"
    same "a second time" "$(cuda-nspawnctl attach "$guest" | head -n 1)" "nothing to change"
}

list_has_a_row_for_each_machine() {
    local printed
    _piloted
    printed=$(cuda-nspawnctl list)
    _is_plain list "$printed"
    same "its header" "$(head -n 1 <<<"$printed" | tr -s ' ')" "MACHINE STATE VERDICT GPUS DESCRIPTION"
    has "its rows" "$(tr -s ' ' <<<"$printed")" "$guest attached passed 0 passed: " "$idle " "2 machines."
    lacks "without a legend" "$(cuda-nspawnctl list --no-legend)" MACHINE machines.
    same "as JSON" "$(cuda-nspawnctl list --json | _from_json '[(m["machine"], m["gpus"] and m["gpus"][0]["uuid"]) for m in d if m["state"] == "attached"]')" \
        "[('$guest', '$(gpu_field 0 uuid)')]"
}

status_tells_all_of_a_machine() {
    local printed
    _piloted
    printed=$(LC_ALL=C.UTF-8 cuda-nspawnctl status "$guest")
    _is_plain status "$printed"
    has status "$printed" "● $guest: attached" "Policy: $policies/$guest.yaml" "Unit: $(unit_of "$guest")" "GPU: 0 " "($(gpu_field 0 uuid))" \
        "Driver: $(property "$guest" Generation)" "Verdict: passed: 1 GPU" " UTC; " "init "
    has "the journal in it" "$printed" "cuda-nspawnd[" "$guest: attach done"
    lacks "of another locale" "$(LC_ALL=C cuda-nspawnctl status "$guest" | head -n 1)" ●
    same "so many lines" "$(cuda-nspawnctl status -n2 --json "$guest" | _from_json 'len(d[0]["journal"])')" 2
    same "no lines" "$(cuda-nspawnctl status --lines=0 --json "$guest" | _from_json 'd[0]["journal"]')" "[]"
    same "as JSON" "$(cuda-nspawnctl status --json "$guest" | _from_json 'd[0]["verdict"], d[0]["gpus"][0]["index"], d[0]["jobs"], d[0]["journal"][-1]["priority"] in range(8)')" \
        "('passed', 0, [], True)"
}

status_tells_who_else_has_a_GPU() {
    _piloted
    has status "$(cuda-nspawnctl status "$guest")" "($(gpu_field 0 uuid)), also in $idle"
    policy "$idle" 'gpus: none'
    cuda-nspawnctl reload
    wait_until 10 property_is "$idle" Gpus 'as 0'
    lacks status "$(cuda-nspawnctl status "$guest")" "also in"
}

_status_has() { [[ $(cuda-nspawnctl status "$guest") == *"$1"* ]]; }
_journal_has() { journalctl --since "$case_begin" --output=cat | grep -q "$1"; }

status_shows_the_lines_of_the_journal_without_what_steers_a_terminal() {
    _piloted
    logger --journald <<END
MESSAGE=wipes the screen: ${escape}[2J.
CUDA_NSPAWN_MACHINE=$guest
SYSLOG_IDENTIFIER=somebody
END
    wait_until 5 _status_has 'wipes the screen'
    _is_plain status "$(cuda-nspawnctl status "$guest")"
    # Whoever is not root says nothing about a machine.
    setpriv --reuid=65534 --regid=65534 --clear-groups logger --journald <<END
MESSAGE=a lie
CUDA_NSPAWN_MACHINE=$guest
END
    wait_until 5 _journal_has 'a lie'
    lacks status "$(cuda-nspawnctl status "$guest")" "a lie"
}

the_exit_status_of_status_tells_whether_machines_are_attached() {
    _piloted
    same "attached" "$(_status_of cuda-nspawnctl status "$guest")" 0
    same "not attached" "$(_status_of cuda-nspawnctl status "$idle")" 3
    same "one of two" "$(_status_of cuda-nspawnctl status "$guest" "$idle")" 3
    same "no such machine" "$(_status_of cuda-nspawnctl status nosuch)" 4
    same "no such name" "$(_status_of cuda-nspawnctl status ../etc)" 4
    same "one is none" "$(_status_of cuda-nspawnctl status nosuch "$guest")" 4
    has "the others are shown" "$(refused cuda-nspawnctl status nosuch "$guest" 2>&1)" "$guest: attached" '"nosuch"'
    same "without a name" "$(_status_of cuda-nspawnctl status)" 0
    same "as JSON" "$(refused cuda-nspawnctl status --json nosuch "$guest" 2>/dev/null | _from_json 'len(d)')" 1
    # A policy that is new counts at once.
    rm "$policies/$idle.yaml"
    cuda-nspawnctl reload
    printf 'gpus: [0]\n' >"$policies/$idle.yaml"
    same "a new policy" "$(_status_of cuda-nspawnctl status "$idle")" 3
}

status_without_a_name_shows_driver_and_machines() {
    local printed
    _piloted
    printed=$(cuda-nspawnctl status)
    _is_plain status "$printed"
    has status "$printed" "Kernel module: $(cat /sys/module/nvidia/version 2>/dev/null || echo 999)" "Driver files: " "Generation: " "$guest "
    same "as JSON" "$(cuda-nspawnctl status --json | _from_json 'sorted(d), len(d["gpus"]), len(d["machines"])')" \
        "(['driver', 'gpus', 'machines'], $gpus, 2)"
}

detach_and_attach_say_what_became_of_the_machine() {
    _piloted
    same "as JSON" "$(cuda-nspawnctl detach --json "$guest" | _from_json 'd["machine"], d["state"], "deny" in [c["type"] for c in d["changes"]], d["holders"]')" \
        "('$guest', 'detached', True, [])"
    has "status" "$(refused cuda-nspawnctl status "$guest")" "$guest: detached"
    same "as JSON" "$(cuda-nspawnctl attach --test --json "$guest" | _from_json 'd["state"], "allow" in [c["type"] for c in d["changes"]], d["text"][:7]')" \
        "('attached', True, 'passed:')"
}

test_takes_a_level() {
    _piloted
    has "test" "$(cuda-nspawnctl test "$guest")" "Verdict: passed: " "init "
    same "the full one" "$(cuda-nspawnctl test --full --json "$guest" | _from_json 'd["verdict"], len(d["checks"]) > 5')" "('passed', True)"
    has "both" "$(refused cuda-nspawnctl test --quick --full "$guest" 2>&1)" "--quick or --full"
    has "of what does not run" "$(refused cuda-nspawnctl test "$idle" 2>&1)" "$idle"
}

holders_are_a_table() {
    local node
    _piloted
    same "none" "$(cuda-nspawnctl holders "$guest")" "nobody holds a GPU open"
    same "none, as JSON" "$(cuda-nspawnctl holders --json "$guest")" "[]"
    node=nvidia$(gpu_field 0 minor)
    exec 3<>"/run/cuda-nspawn/machines/$guest/dev/$node"
    has "holders" "$(cuda-nspawnctl holders | tr -s ' ')" "MACHINE PID PID-IN-MACHINE NAME DEVICES" " $BASHPID "
    same "as JSON" "$(cuda-nspawnctl holders --json | _from_json "[h['devices'] for h in d if h['pid'] == $BASHPID]")" "[['$node']]"
    exec 3>&-
}
