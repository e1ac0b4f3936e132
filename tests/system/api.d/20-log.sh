# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# How much is logged, and where: systemctl service-log-level and service-log-target.

_log_of() { journalctl --no-pager --output=cat --since "$case_begin" --unit=cuda-nspawnd | grep -F "($1)" || :; }
_log_has() { [ -n "$(_log_of "$1")" ]; }
_refresh_because() { _call Refresh 'a{sv}' 1 cause s "$1"; }

systemctl_sets_the_log_level() {
    same "the level" "$(systemctl service-log-level cuda-nspawnd)" info
    _refresh_because quiet
    wait_until 5 _log_has quiet
    lacks "the journal" "$(_log_of quiet)" "the driver is looked at"
    systemctl service-log-level cuda-nspawnd debug
    same "the level" "$(systemctl service-log-level cuda-nspawnd)" debug
    _refresh_because loud
    wait_until 5 _log_has loud
    has "the journal" "$(_log_of loud)" "the driver is looked at"
    systemctl service-log-level cuda-nspawnd info
    refused systemctl service-log-level cuda-nspawnd shout
    refused busctl set-property "$bus" /org/freedesktop/LogControl1 org.freedesktop.LogControl1 LogLevel s shout
    same "the level" "$(systemctl service-log-level cuda-nspawnd)" info
}

systemctl_sets_the_log_target() {
    same "the target" "$(systemctl service-log-target cuda-nspawnd)" journal
    systemctl service-log-target cuda-nspawnd null
    _refresh_because unheard
    systemctl service-log-target cuda-nspawnd console
    same "the target" "$(systemctl service-log-target cuda-nspawnd)" console
    _refresh_because plain
    # Standard error is the journal, too, so the plain line is found there.
    wait_until 5 _log_has plain
    same "what was logged meanwhile" "$(_log_of unheard)" ""
    systemctl service-log-target cuda-nspawnd auto
    same "the target" "$(systemctl service-log-target cuda-nspawnd)" journal
    same SyslogIdentifier "$(busctl get-property "$bus" /org/freedesktop/LogControl1 org.freedesktop.LogControl1 SyslogIdentifier)" 's "cuda-nspawnd"'
}
