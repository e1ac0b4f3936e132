# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# All images at once, without starting them.

_audit() { cuda-nspawnctl audit "$@" || [ $? -eq 1 ]; }
_row_of() { _audit "${@:2}" | grep -E "^$1 "; }

all_images_are_audited_with_a_policy_or_without() {
    _patient
    lab-guest bullseye second
    mkdir -p /var/lib/machines/second/usr/local/nvidia/lib64
    cp "$hosts_libcuda" /var/lib/machines/second/usr/local/nvidia/lib64/libcuda.so.1
    has "$guest" "$(_row_of "$guest")" yes "Debian GNU/Linux 13"
    lacks "$guest" "$(_row_of "$guest")" guest-
    has second "$(_row_of second)" no "Debian GNU/Linux 11" guest-libcuda
    # Nothing was started, and what was not changed is not read again.
    same "second" "$(systemctl is-active systemd-nspawn@second)" inactive
    [ -e /var/cache/cuda-nspawn/audit/second.json ]
    rm /var/lib/machines/second/usr/local/nvidia/lib64/libcuda.so.1
    lacks second "$(_row_of second)" guest-libcuda
    has "as JSON" "$(_audit --json)" '"machine":"second"' '"policy":false' '"guest":"Debian GNU/Linux 11'
    rm -r /var/lib/machines/second
    lacks "the audit" "$(_audit)" second
    [ ! -e /var/cache/cuda-nspawn/audit/second.json ]
    _discharged
}

raw_images_are_audited_when_they_are_asked_for() {
    local place
    command -v mkfs.ext4 >/dev/null || skip "this lab has no mkfs.ext4"
    lab-guest bookworm second
    touch /var/lib/machines/second/usr/lib/x86_64-linux-gnu/libcuda.so.1
    truncate -s 1G /var/lib/machines/second.raw
    mkfs.ext4 -q -d /var/lib/machines/second /var/lib/machines/second.raw
    rm -r /var/lib/machines/second
    lacks second "$(_row_of second)" "Debian GNU/Linux 12"
    has second "$(_row_of second --images)" "Debian GNU/Linux 12" guest-empty-library
    place=$(losetup --list --noheadings --associated /var/lib/machines/second.raw)
    same "what the look left" "$place" ""
    rm /var/lib/machines/second.raw
}

# Who may only look must not learn what is in machines.
only_root_may_ask_for_a_diagnosis() {
    has "the refusal" "$(refused setpriv --reuid=65534 --clear-groups cuda-nspawnctl diagnose "$guest" 2>&1)" "org.cudanspawn1.inspect"
    has "the refusal" "$(refused setpriv --reuid=65534 --clear-groups cuda-nspawnctl audit 2>&1)" "org.cudanspawn1.inspect"
}

nonsense_is_refused_with_a_sentence() {
    has "no such option" "$(refused cuda-nspawnctl diagnose --programme x "$guest" 2>&1)" "diagnose has no option --programme"
    has "no value" "$(refused cuda-nspawnctl diagnose "$guest" --program 2>&1)" "--program needs a value"
    has "no absolute path" "$(refused cuda-nspawnctl diagnose "$guest" --program bin/x 2>&1)" 'begins with "/"'
    has "no name" "$(refused cuda-nspawnctl diagnose 2>&1)" "needs the name of a machine"
    has "a bad name" "$(refused cuda-nspawnctl diagnose ../etc 2>&1)" "../etc"
}
