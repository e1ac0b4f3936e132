# shellcheck shell=bash disable=SC2154 # the parts of the bench share its variables
# From systemctl start to the guest and the verdict, and what of it is our set-up; discovery; the daemon at rest.

with=bench-with without=bench-without timed=bench-timed
self_test=/usr/lib/cuda-nspawn/inside/self-test

clean_start() {
    rm -f "$policies/$with.yaml" "$policies/$timed.yaml"
    end_machines $with $without $timed
    rm -rf /var/lib/machines/$with /var/lib/machines/$without /var/lib/machines/$timed
}

# When the guest had reached all that it starts at boot, by its own systemd, whose clock is the host's.
finish_time() {    # MACHINE
    busctl --machine="$1" get-property org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \
        FinishTimestamp </dev/null 2>/dev/null | cut -d' ' -f2
}
has_come_up() { [ "$(finish_time "$1")" -gt 0 ]; }

# Until systemctl returns, and until the guest has reached everything it starts at boot.
time_start() {    # MACHINE
    local begin=${EPOCHREALTIME/./}
    systemctl start "systemd-nspawn@$1"
    note_time "$1-start" "$begin"
    wait_until 30 has_come_up "$1"
    echo $(($(finish_time "$1") - begin)) >>"$samples/$1-up"
    # The verdict comes beside; the next round begins when it is there.
    if [ "$1" = $with ]; then
        wait_until 30 systemctl --quiet is-active "cuda-nspawn@$1"
        note_set_up
    fi
    end_machines "$1"
}

time_verdict() {
    local begin=${EPOCHREALTIME/./}
    systemctl start cuda-nspawn@$with
    note_time verdict "$begin"
    wait_until 30 has_come_up $with
    end_machines $with
}

time_self_test() {
    local begin=${EPOCHREALTIME/./}
    $self_test quick >/dev/null
    note_time self-test "$begin"
}

# A guest whose ldconfig notes how long it took.
make_timed() {
    local ldconfig=/var/lib/machines/$timed/usr/sbin/ldconfig
    lab-guest "$suite" $timed
    mv "$ldconfig" "$ldconfig.timed"
    cat >"$ldconfig" <<'END'
#!/bin/bash
begin=${EPOCHREALTIME/./}
/usr/sbin/ldconfig.timed "$@" || exit
echo $((${EPOCHREALTIME/./} - begin)) >/run/ldconfig-time
END
    chmod 755 "$ldconfig"
    policy $timed 'gpus: [0]'
    wait_until 60 property_is $timed State ready
}

time_ldconfig() {
    systemctl start cuda-nspawn@$timed
    wait_until 30 has_come_up $timed
    in_guest $timed cat /run/ldconfig-time >>"$samples/ldconfig"
    end_machines $timed
}

monotonic() { in_guest $with systemctl show --value --property="$1TimestampMonotonic" "${@:2}"; }    # WHAT [UNIT]

# By the guest's systemd: its boot, and our set-up in it.
note_set_up() {
    local unit=cuda-nspawn-setup.service
    echo $(($(monotonic ExecMainExit $unit) - $(monotonic ExecMainStart $unit))) >>"$samples/set-up"
    echo $(($(monotonic Finish) - $(monotonic Userspace))) >>"$samples/guest-boot"
}

measure_start() {
    local round discovery floor files
    clean_start
    lab-guest "$suite" $with $without
    policy $with 'gpus: [0]'
    wait_until 60 property_is $with State ready
    make_timed
    for machine in $with $without $timed; do boot "$machine"; end_machines "$machine"; done    # first boots write more
    $self_test quick >/dev/null                                                     # warm

    for ((round = 1; round <= rounds; round++)); do
        [ ! -t 2 ] || printf '\rround %d of %d' "$round" "$rounds" >&2
        # Who goes first changes, so that what the one leaves behind falls on both alike.
        if ((round % 2)); then time_start $without; time_start $with; else time_start $with; time_start $without; fi
        time_verdict
        time_self_test
        time_ldconfig
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2

    row 'systemctl start systemd-nspawn@, exposed' "$(median_of $with-start)" ms "$(median_of $without-start)" 1.05 'the same without exposure'
    row '... until the guest is up, self-test beside' "$(median_of $with-up)" ms "$(median_of $without-up)" '' 'the same without exposure'
    row 'systemctl start cuda-nspawn@, to the verdict' "$(median_of verdict)" ms \
        "$(awk "BEGIN { print $(median_of $without-up) + 1.25 * $(median_of self-test) }")" 1 \
        "guest boot + 1.25 x self-test, warm, on the host ($(median_of self-test) ms)"
    row "the guest's set-up, before its sysinit.target" "$(median_of set-up)" ms "$(median_of guest-boot)" '' "its boot, of which the ratio is the share"
    row "... in it the guest's own ldconfig" "$(median_of ldconfig)" ms "$(median_of guest-boot)" '' "its boot, of which the ratio is the share"
    read -r discovery floor files < <("$BUILD_DIR/tests/bench/discovery" 101)
    row 'driver discovery' "$(milliseconds "$discovery")" ms "$(milliseconds "$floor")" '' "reading the same once ($files files)"
    row 'driver discovery' "$(milliseconds "$discovery")" ms 105 0.1 'nvidia-ctk cdi generate 1.20 on an H200, as measured there'
    at_rest 'one machine prepared'
    clean_start
}
