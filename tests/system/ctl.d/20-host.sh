# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# gpus, driver, diagnose, audit, verify, refresh, reload: the host.

gpus_are_a_table_with_their_machines() {
    local printed uuid
    _piloted
    uuid=$(gpu_field 0 uuid)
    printed=$(cuda-nspawnctl gpus)
    _is_plain gpus "$printed"
    same "its header" "$(head -n 1 <<<"$printed" | tr -s ' ')" "INDEX MINOR PCI ADDRESS MODEL UUID MACHINES"
    has "the first" "$(grep "$uuid" <<<"$printed")" "$guest"
    same "all of them" "$(cuda-nspawnctl gpus --no-legend | wc -l)" "$gpus"
    same "by UUID" "$(cuda-nspawnctl gpus --json "$uuid" | _from_json '[g["index"] for g in d], d[0]["machines"]')" "([0], ['$idle', '$guest'])"
    same "as nvidia-smi has it" "$(cuda-nspawnctl gpus --json "0000$(cuda-nspawnctl gpus --json 0 | _from_json 'd[0]["pci_address"].upper()')" | _from_json 'd[0]["uuid"]')" "$uuid"
    same "by index" "$(cuda-nspawnctl gpus --json 0 | _from_json 'd[0]["uuid"]')" "$uuid"
    has "one that is not there" "$(refused cuda-nspawnctl gpus 77 2>&1)" 'no GPU "77"'
}

driver_tells_module_files_and_generations() {
    local printed
    _piloted
    printed=$(cuda-nspawnctl driver)
    _is_plain driver "$printed"
    has driver "$printed" "Kernel module: " "Driver files: " "Generation: $(property "$guest" Generation)"
    same "as JSON" "$(cuda-nspawnctl driver --json | _from_json 'd["generation"]')" "$(property "$guest" Generation)"
}

what_is_asked_about_the_host_is_JSON_too() {
    _piloted
    same diagnose "$(cuda-nspawnctl diagnose --json "$guest")" "[]"
    has audit "$(cuda-nspawnctl audit --json | _from_json '[m["machine"] for m in d]')" "'$guest'"
    same verify "$(cuda-nspawnctl verify --json | _from_json '[g["result"] for g in d]')" "['intact']"
    same "refresh prints nothing" "$(cuda-nspawnctl refresh)" ""
    same "reload prints nothing" "$(cuda-nspawnctl reload)" ""
}

JSON_is_one_line_or_pretty() {
    _piloted
    same "in a pipe" "$(cuda-nspawnctl driver --json | wc -l)" 1
    same "short" "$(cuda-nspawnctl driver --json=short | wc -l)" 1
    [ "$(cuda-nspawnctl driver --json=pretty | wc -l)" -gt 5 ]
    has "off" "$(cuda-nspawnctl driver --json=off)" "Kernel module: "
    [ "$(_terminal 'cuda-nspawnctl driver -j' | wc -l)" -gt 5 ]
    has "another word" "$(refused cuda-nspawnctl driver --json=xml 2>&1)" "short, pretty or off"
}

colours_are_for_terminals() {
    local command
    _piloted
    for command in list "status $guest" gpus; do
        has "$command" "$(_terminal "TERM=xterm cuda-nspawnctl $command")" "${escape}["
        lacks "$command, NO_COLOR" "$(_terminal "TERM=xterm NO_COLOR=1 cuda-nspawnctl $command")" "${escape}["
        lacks "$command, dumb" "$(_terminal "TERM=dumb cuda-nspawnctl $command")" "${escape}["
        lacks "$command, SYSTEMD_COLORS=0" "$(_terminal "TERM=xterm SYSTEMD_COLORS=0 cuda-nspawnctl $command")" "${escape}["
        # shellcheck disable=SC2086 # words
        has "$command, SYSTEMD_COLORS=1 in a pipe" "$(SYSTEMD_COLORS=1 cuda-nspawnctl $command)" "${escape}["
        # shellcheck disable=SC2086 # words
        lacks "$command in a pipe" "$(TERM=xterm cuda-nspawnctl $command)" "${escape}["
    done
}

a_line_fits_the_terminal_unless_all_is_wanted() {
    local text
    _piloted
    policy "$idle" "gpus: [GPU-00000000-1111-2222-3333-444444444444, GPU-00000000-1111-2222-3333-555555555555]"
    cuda-nspawnctl reload
    text=$(property "$idle" StateText)
    [ ${#text} -gt 60 ] || fail "not long enough for this: $text"
    lacks "on a terminal" "$(_terminal 'cuda-nspawnctl list')" "$text"
    has "with --full" "$(_terminal 'cuda-nspawnctl list --full')" "$text"
    has "in a pipe" "$(cuda-nspawnctl list)" "$text"
}
