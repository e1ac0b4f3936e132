# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# The machines of the suite, and ways to look at what was printed.

guest=pilot-1                         # Debian 13, runs
idle=parked                           # a policy without an image
all_machines=("$guest" "$idle")
manual=/src/docs/cuda-nspawnctl.1.scd
completion=/usr/share/bash-completion/completions/cuda-nspawnctl
escape=$'\x1b'

# Where each case begins, whatever became of those before.
_piloted() {
    [ -d "/var/lib/machines/$guest" ] || _make trixie "$guest"
    policy "$guest" 'gpus: [0]'
    policy "$idle" 'gpus: [0]'
    cuda-nspawnctl attach --start --test "$guest"
    is_attached "$guest"
}

_status_of() { "$@" >/dev/null 2>&1 && echo 0 || echo $?; }    # COMMAND…: its exit status

# What python makes of JSON: an expression over `d`.
_from_json() { python3 -c "import json, sys; d = json.load(sys.stdin); print(($1))"; }

# On a terminal, as somebody would see it. Lines of a terminal end with a carriage return.
_terminal() { script --quiet --return --command "$1" /dev/null </dev/null | tr -d '\r'; }    # COMMAND-LINE

_is_plain() {    # WHAT TEXT
    lacks "$1" "$2" "$escape"
    ! grep -nE ' +$' <<<"$2" || fail "$1 has blanks at the end of a line"
}
