# shellcheck shell=bash disable=SC2154 # the parts of the bench share its variables
# The doctor: one machine, and the audit of 1,000 images.

audited=1000
images=/var/lib/machines

clean_doctor() {
    rm -rf $images/bench-audit-*
    rm -f "$policies/bench-doctor.yaml"
}

# What is looked at of a root file system, without what is not; a thousand whole ones would be a thousand times 200 MB.
make_audited() {
    local i base=$images/bench-audit-0 from=/usr/share/lab/guests/$suite
    mkdir -p "$base"
    (cd "$from" && cp -a --parents etc usr/lib/systemd usr/lib/os-release usr/lib64 lib lib64 sbin usr/sbin/ldconfig usr/local \
        usr/lib/x86_64-linux-gnu/libc.so.6 usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 "$base")
    mkdir -p "$base"/{opt,root,home}
    for ((i = 1; i < audited; i++)); do cp -al "$base" "$images/bench-audit-$i"; done
}

audit() { cuda-nspawnctl audit >/dev/null || [ $? -eq 1 ]; }

measure_doctor() {
    local begin i
    clean_doctor
    echo 'gpus: [0]' >"$policies/bench-doctor.yaml"
    mkdir -p "$images/bench-doctor"
    for ((i = 0; i < rounds; i++)); do
        begin=${EPOCHREALTIME/./}
        cuda-nspawnctl diagnose bench-doctor >/dev/null || :
        note_time diagnose "$begin"
        begin=${EPOCHREALTIME/./}
        systemd-run --quiet --wait --collect --property=ProtectSystem=strict --property=PrivateTmp=yes true
        note_time unit "$begin"
    done
    row 'diagnosis of one machine' "$(median_of diagnose)" ms "$(median_of unit)" '' 'a unit that does nothing, sandboxed as its workers'
    rm -r "$images/bench-doctor" "$policies/bench-doctor.yaml"
    make_audited
    rm -rf /var/cache/cuda-nspawn/audit
    begin=${EPOCHREALTIME/./}
    audit
    note_time first-audit "$begin"
    for ((i = 0; i < 3; i++)); do
        begin=${EPOCHREALTIME/./}
        audit
        note_time audit "$begin"
    done
    row 'audit of 1,000 images, the first' "$(median_of first-audit)" ms 10000 '' 'the budget of the next'
    row '... when nothing has changed since' "$(median_of audit)" ms 10000 1 'the budget'
    at_rest 'after it'
    clean_doctor
}
