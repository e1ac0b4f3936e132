# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The command line itself: mistakes, help, the manual, the shell's completion.

mistakes_are_told_with_the_way_out() {
    local words
    has "a command" "$(refused cuda-nspawnctl statsu 2>&1)" "(did you mean 'status'?)" --help
    has "an option" "$(refused cuda-nspawnctl attach --strat x 2>&1)" "attach has no option --strat (did you mean '--start'?)"
    has "no machine" "$(refused cuda-nspawnctl attach 2>&1)" "attach needs the name of a machine"
    has "too many" "$(refused cuda-nspawnctl detach a b 2>&1)" '"b" is one argument too many'
    has "a number" "$(refused cuda-nspawnctl status -n many x 2>&1)" "--lines is a number"
    for words in "" statsu "attach --strat x" attach "status --json=xml" "test --quick --full x"; do
        # shellcheck disable=SC2086 # words
        same "the exit status of $words" "$(_status_of cuda-nspawnctl $words)" 2
        # shellcheck disable=SC2086 # words
        same "what $words prints" "$(cuda-nspawnctl $words 2>/dev/null)" ""
    done
    has "no such machine" "$(refused cuda-nspawnctl attach nosuch 2>&1)" "nosuch"
    same "its exit status" "$(_status_of cuda-nspawnctl attach nosuch)" 1
}

without_a_daemon_it_says_so() {
    systemctl mask --runtime cuda-nspawnd
    systemctl stop cuda-nspawnd
    has list "$(refused cuda-nspawnctl list 2>&1)" "cuda-nspawnd does not answer: " "systemctl status cuda-nspawnd"
    same "its exit status" "$(_status_of cuda-nspawnctl status)" 1
    same "as JSON" "$(refused cuda-nspawnctl list --json 2>/dev/null)" ""
    systemctl unmask --runtime cuda-nspawnd
    systemctl start cuda-nspawnd
    has "without a bus" "$(DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere refused cuda-nspawnctl list 2>&1)" "The system bus cannot be reached"
}

the_version_is_told_without_a_bus() {
    has --version "$(DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere cuda-nspawnctl --version)" "cuda-nspawnctl "
}

# "COMMAND --OPTION" of each, "--OPTION" of those that all have.
_words_of_help() {
    cuda-nspawnctl --help | awk '
        /^Commands:/ { part = "commands" } /^Options:/ { part = "options" }
        match($0, /--[a-z-]+/) { option = substr($0, RSTART, RLENGTH) }
        part == "commands" && /^  [a-z]/ { command = $1; print command }
        part == "commands" && /^      -/ { print command, option }
        part == "options" && /^  -/ { print option }' | sort
}
_words_of_manual() {
    awk '
        /^# / { part = $2 }
        match($0, /--[a-z-]+/) { option = substr($0, RSTART, RLENGTH) }
        part == "COMMANDS" && /^\*[a-z]+\*/ { command = $0; sub(/^\*/, "", command); sub(/\*.*/, "", command); print command }
        part == "COMMANDS" && /^\t(\*-[a-z]\*, )?\*--/ { print command, option }
        part == "OPTIONS" && /^(\*-[a-z]\*, )?\*--[a-z]/ { print option }' "$manual" | sort
}

help_and_manual_have_the_same_commands_and_options() {
    [ -e "$manual" ] || skip "no sources here"
    has "the words of help" "$(_words_of_help)" list "attach --start" "--no-legend" "--json"
    diff <(_words_of_help) <(_words_of_manual)
}

# What bash would offer for the last word.
_offers() {    # WORD…
    # shellcheck disable=SC2016 # for the other shell
    bash --norc -c '. "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _cuda_nspawnctl; printf "%s\n" "${COMPREPLY[@]}"' \
        bash "$completion" cuda-nspawnctl "$@" | xargs
}

completion_offers_commands_options_and_names() {
    _piloted
    same "commands" "$(_offers de)" detach
    has "all commands" "$(_offers '')" "list status attach" monitor
    same "options" "$(_offers attach --st)" --start
    same "machines" "$(_offers status '')" "$idle $guest"
    same "a machine" "$(_offers detach pi)" "$guest"
    same "only one" "$(_offers detach "$guest" '')" ""
    has "GPUs" "$(_offers gpus GPU-)" "$(gpu_field 0 uuid)"
    has "files" "$(_offers check "$policies/")" "$policies/$guest.yaml"
    same "modes" "$(_offers list --json = p)" pretty
}

completion_starts_no_daemon() {
    systemctl stop cuda-nspawnd
    same "commands" "$(_offers de)" detach
    same "machines" "$(_offers status '')" ""
    same "the daemon" "$(systemctl is-active cuda-nspawnd)" inactive
    systemctl start cuda-nspawnd
}
