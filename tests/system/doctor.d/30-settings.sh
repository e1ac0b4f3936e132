# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The admin's settings file, and the machine's unit.

_settings() {
    mkdir -p "${settings%/*}"
    printf '%s\n' "$@" >"$settings"
}

_drop_in() {    # NAME LINE…
    mkdir -p "$drop_ins"
    printf '%s\n' '[Service]' "${@:2}" >"$drop_ins/$1.conf"
    systemctl daemon-reload
}

a_settings_file_that_is_broken() {
    _patient
    _settings '[Exec' 'Hostname=x'
    wait_until 10 property_is "$guest" State blocked
    _finds settings-broken "$settings:1"
    _start_fails_with settings-broken
    rm "$settings"
    _starts_again
    _discharged
}

a_settings_file_that_collides() {
    _patient
    _settings '[Files]' 'TemporaryFileSystem=/run/cuda-nspawn'
    wait_until 10 property_is "$guest" State blocked
    _finds settings-collide "$settings:2"
    rm "$settings"
    _starts_again
    _discharged
}

a_settings_file_beside_the_image() {
    _patient
    printf '%s\n' '[Files]' 'Bind=/usr/share/doc:/mnt' >"$beside"
    _finds settings-ignored "warning: " "$beside:2: Bind= has no effect" "/etc/systemd/nspawn/$guest.nspawn, line by line"
    rm "$beside"
    wait_until 10 _is_well
    _starts_again
    _discharged
}

a_bind_whose_source_is_missing() {
    _patient
    _settings '[Files]' 'BindReadOnly=/usr/lib/x86_64-linux-gnu/libcuda.so.470.1.2'
    _finds bind-source-missing "$settings:2 binds /usr/lib/x86_64-linux-gnu/libcuda.so.470.1.2" "the driver was upgraded"
    _start_fails_with bind-source-missing
    _mend
    _starts_again
    _discharged
}

a_node_that_is_bound_by_hand() {
    _patient
    _settings '[Files]' 'Bind=/dev/nvidiactl'
    _finds node-bound-by-hand "warning: " "$settings:2 binds the host's node /dev/nvidiactl"
    _mend
    _starts_again
    _discharged
}

a_whole_directory_of_libraries() {
    _patient
    _settings '[Files]' 'BindReadOnly=/usr/lib/x86_64-linux-gnu'
    _finds library-directory-bound "$settings:2" "name resolution"
    _mend
    _starts_again
    _discharged
}

a_library_of_the_hosts_that_is_bound() {
    _patient
    _settings '[Files]' 'BindReadOnly=/usr/lib/x86_64-linux-gnu/libsystemd.so.0:/usr/lib/x86_64-linux-gnu/libGL.so.1'
    _finds host-library-bound "warning: " "GLIBC_"
    _mend
    _starts_again
    _discharged
}

a_filter_of_system_calls() {
    _patient
    _settings '[Exec]' 'SystemCallFilter=~mlock @memlock'
    _finds system-calls-denied "$settings:2 denies the machine the system call mlock"
    _mend
    _starts_again
    _discharged
}

an_exec_start_that_defeats_the_settings() {
    _patient
    _drop_in override 'ExecStart=' 'ExecStart=systemd-nspawn --quiet --keep-unit --boot --link-journal=try-guest --network-veth -U --settings=no --machine=%i'
    cuda-nspawnctl attach --fresh "$guest" || :
    _finds exec-start-defeats "--settings"
    _start_fails_with exec-start-defeats
    rm -r "$drop_ins"
    systemctl daemon-reload
    _starts_again
    _discharged
}

# As another program's drop-in does that wants the list for itself.
a_drop_in_that_resets_the_rules() {
    _patient
    _drop_in 99-other 'DeviceAllow=' 'DeviceAllow=char-pts rw'
    _finds device-rules-elsewhere "$drop_ins/99-other.conf:2 says DeviceAllow=" "takes back all device rules"
    systemctl start "systemd-nspawn@$guest"
    _mend
    _starts_again
    _discharged
}

a_drop_in_with_a_strict_policy() {
    _patient
    _drop_in 20-strict 'DevicePolicy=strict'
    _finds device-rules-elsewhere "$drop_ins/20-strict.conf:2 says DevicePolicy=strict"
    _start_fails_with device-rules-elsewhere
    _mend
    _starts_again
    _discharged
}

rules_that_an_earlier_boot_left() {
    _patient
    systemctl set-property "systemd-nspawn@$guest" 'DeviceAllow=/dev/char/244:0 rw'
    _finds rules-left-over "/etc/systemd/system.control/" "244:0"
    systemctl start "systemd-nspawn@$guest"
    _mend
    _starts_again
    _discharged
}

a_rule_with_an_old_number() {
    _patient
    _drop_in 20-gpu 'DeviceAllow=/dev/char/244:0 rw'
    _finds rule-has-stale-number "$drop_ins/20-gpu.conf:2 allows the device number 244:0"
    systemctl start "systemd-nspawn@$guest"
    _mend
    _starts_again
    _discharged
}

a_rule_for_a_node_that_came_later() {
    _patient
    _drop_in 20-gpu 'DeviceAllow=/dev/nvidia-later rw'
    _finds rule-came-too-early "$drop_ins/20-gpu.conf:2 allows /dev/nvidia-later by its path" "there is no such node"
    systemctl start "systemd-nspawn@$guest"
    _mend
    _starts_again
    _discharged
}

the_first_start_after_nspawn_was_killed() {
    _running_patient
    wait_until 30 has_booted "$guest"
    systemctl kill --kill-whom=main --signal=KILL "systemd-nspawn@$guest"
    wait_until 30 is_down "$guest"
    _start_fails_with start-refused-after-kill
    _finds start-refused-after-kill "exists already, refusing"
    systemctl --quiet reset-failed
    _mend
    is_attached "$guest"
    _is_well
    _discharged
}
