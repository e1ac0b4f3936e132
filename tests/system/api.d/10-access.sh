# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Who may call what.

everybody_may_read() {
    local object
    _trainer
    object=$(object_of "$trainer")
    has ListMachines "$("${nobody[@]}" busctl call "$bus" /org/cudanspawn1 "$manager" ListMachines)" "$trainer"
    has GetMachine "$("${nobody[@]}" busctl call "$bus" /org/cudanspawn1 "$manager" GetMachine s "$trainer")" "$trainer"
    has "a property" "$("${nobody[@]}" busctl get-property "$bus" "$object" "$bus.Machine" State)" ready
    has GetManagedObjects "$("${nobody[@]}" busctl call "$bus" /org/cudanspawn1 org.freedesktop.DBus.ObjectManager GetManagedObjects)" "$trainer"
    has introspection "$("${nobody[@]}" busctl introspect "$bus" /org/cudanspawn1)" .Attach
    has "the log level" "$("${nobody[@]}" busctl get-property "$bus" /org/freedesktop/LogControl1 org.freedesktop.LogControl1 LogLevel)" info
}

what_is_not_named_the_bus_denies() {
    _trainer
    has Set "$(_try "${nobody[@]}" busctl set-property "$bus" /org/freedesktop/LogControl1 org.freedesktop.LogControl1 LogLevel s debug)" "Access denied"
    has "Set of a machine" "$(_try "${nobody[@]}" busctl set-property "$bus" "$(object_of "$trainer")" "$bus.Machine" State s ready)" "Access denied"
    has "an unknown method" "$(_try "${nobody[@]}" busctl call "$bus" /org/cudanspawn1 "$manager" NoSuch)" "Access denied"
    has "an unknown interface" "$(_try "${nobody[@]}" busctl call "$bus" /org/cudanspawn1 org.nosuch.Manager Attach)" "Access denied"
    has "the name" "$(_try "${nobody[@]}" busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus RequestName su "$bus" 4)" "Access denied"
}

# What the daemon answers to a user's call; busctl has words of its own for a denial.
_answer_to() {    # USER PATH INTERFACE METHOD [TYPES [MACHINE]]
    local -n user=$1
    shift
    [ $# -gt 3 ] || set -- "$@" ''
    "${user[@]}" python3 api.d/call.py "$@"
}

_jobs() { busctl tree --list "$bus" | grep /org/cudanspawn1/job/ || :; }

# polkit would ask an admin; nobody is there to type.
others_are_refused_unless_polkit_has_a_rule() {
    local call jobs
    _need_python
    _trainer
    jobs=$(_jobs)
    for call in "Attach sa{sv} $trainer" "Detach sa{sv} $trainer" "SelfTest sa{sv} $trainer" "Plan sa{sv} $trainer" \
        "Diagnose sa{sv} $trainer" "ListHolders s $trainer" "Audit a{sv}" "Refresh a{sv}" VerifyStore Reload; do
        # shellcheck disable=SC2086 # words
        has "${call%% *}" "$(_answer_to nobody /org/cudanspawn1 "$manager" $call)" \
            "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired: polkit wants somebody to authenticate for $bus."
    done
    has "Attach of the machine" "$(_answer_to nobody "$(object_of "$trainer")" "$bus.Machine" Attach 'a{sv}')" "$bus.apply"
    has "one that lets ask" "$(_try "${nobody[@]}" busctl call --allow-interactive-authorization=yes "$bus" /org/cudanspawn1 "$manager" \
        Attach 'sa{sv}' "$trainer" 0)" "Access denied"
    same "the jobs" "$(_jobs)" "$jobs"
}

polkit_shows_the_actions() {
    local action
    for action in apply self-test refresh inspect; do
        has "pkaction $action" "$(pkaction --verbose --action-id "$bus.$action")" "Authentication is required to" "implicit any:      auth_admin"
    done
}

a_rule_lets_a_user_attach_one_machine_and_no_other() {
    _need_python
    _trainer
    _rule <<END
polkit.addRule(function(action, subject) {
    if (action.id == "$bus.apply" && action.lookup("machine") == "$trainer" && subject.user == "games")
        return polkit.Result.YES;
});
END
    wait_until 10 "${operator[@]}" busctl call "$bus" /org/cudanspawn1 "$manager" Attach 'sa{sv}' "$trainer" 1 wait b true
    "${operator[@]}" busctl call "$bus" "$(object_of "$trainer")" "$bus.Machine" Attach 'a{sv}' 1 wait b true
    has "another machine" "$(_answer_to operator /org/cudanspawn1 "$manager" Attach 'sa{sv}' "$second")" "$bus.apply"
    has "another action" "$(_answer_to operator /org/cudanspawn1 "$manager" SelfTest 'sa{sv}' "$trainer")" "$bus.self-test"
    has "another user" "$(_answer_to nobody /org/cudanspawn1 "$manager" Attach 'sa{sv}' "$trainer")" "$bus.apply"
    # What is wrong with a call is told to who is authorized.
    has "an option" "$(_try "${operator[@]}" busctl call "$bus" /org/cudanspawn1 "$manager" Attach 'sa{sv}' "$trainer" 1 colour s green)" colour
    _without_rules
}

without_polkit_only_root_may() {
    _need_python
    _trainer
    systemctl mask --runtime --now polkit
    has Attach "$(_answer_to nobody /org/cudanspawn1 "$manager" Attach 'sa{sv}' "$trainer")" "AccessDenied: Only root may do this" polkit
    _call Attach 'sa{sv}' "$trainer" 1 wait b true
    systemctl unmask --runtime polkit
    systemctl start polkit
}
