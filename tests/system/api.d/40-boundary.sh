# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Calls that no well-behaved client makes, by root, by others, and by others whom polkit authorizes: the daemon stays the
# same process, answers, keeps its memory, and nothing on the host is another.

growth_kib=8192    # what a heap may keep of messages of a megabyte

_is_no_larger() { [ "$(_resident_kib)" -le "$1" ]; }

# ROUND COMMAND…: as who runs it
_stands() {
    local round=$1 daemon files resident
    shift
    daemon=$(_daemon)
    files=$(_files)
    resident=$(_resident_kib)
    "$@" python3 api.d/boundary.py "$round"
    same "the daemon" "$(_daemon)" "$daemon"
    wait_until 30 property_is "$trainer" State ready
    same "the files" "$(_files)" "$files"
    wait_until 10 _is_no_larger $((resident + growth_kib)) || fail "it grew from $resident KiB to $(_resident_kib) KiB"
    echo "resident: $resident KiB, then $(_resident_kib) KiB"
}

_stands_at_rest() {
    _need_python
    _trainer
    end_machines "$trainer"
    wait_until 10 property_is "$trainer" State ready
    _stands "$@"
}

_all_for_the_operator() {
    _need_python
    _trainer
    _rule <<END
polkit.addRule(function(action, subject) {
    if (action.id.indexOf("$bus.") == 0 && subject.user == "games") return polkit.Result.YES;
});
END
    wait_until 10 "${operator[@]}" busctl call "$bus" /org/cudanspawn1 "$manager" Reload
}

boundary_values_from_a_user_on_every_method() { _stands_at_rest methods "${nobody[@]}"; }
boundary_values_from_root_on_every_method() { _stands_at_rest methods env; }
boundary_values_from_an_authorized_user_on_every_method() {
    _all_for_the_operator
    _stands methods "${operator[@]}"
    _without_rules
}
hundreds_of_calls_at_once_from_a_user() { _stands_at_rest flood "${nobody[@]}"; }
hundreds_of_calls_at_once_from_root() { _stands_at_rest flood env; }
callers_that_vanish_as_a_user() { _stands_at_rest vanish "${nobody[@]}"; }
callers_that_vanish_as_root() { _stands_at_rest vanish env; }
