# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Guests in which no systemd runs: a command instead of booting, another init, something that somebody starts by hand.
# The set-up is done in front of the command or from the host.

_make_bare() {
    _make_guest
    [ $# -eq 0 ] || "$@"
    install -m 755 "$BUILD_DIR/tests/system/compute" "/var/lib/machines/$guest/usr/local/bin/compute"
    before=$(_own_files)
}

# Without what systemd-nspawn itself makes at a start, and the loader's cache, which is what ldconfig makes of it.
_own_files() { (cd "/var/lib/machines/$guest" && find etc usr ! -name ld.so.cache -printf '%p %y %m %U %G %s %l\n' | sort | sha256sum); }

# A command as a process of the guest's: in its cgroup, whose rules hold then, and in its namespaces.
_inside() {    # COMMAND…
    local leader cgroup
    leader=$(leader_of "$guest")
    cgroup=/sys/fs/cgroup$(systemctl show --property=ControlGroup --value "$(property "$guest" Unit)")
    # shellcheck disable=SC2016 # for that shell
    bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec nsenter --all --target "$@"' - "$cgroup/payload" "$leader" "$@"
}

# What is written for guests with a systemd.
_bare() (    # FUNCTION…
    # shellcheck disable=SC2317 # the function calls it
    in_guest() { shift && _inside "$@"; }
    "$@"
)

_has_computed_since() { journalctl --output=cat --since "$case_begin" --unit="$(unit_of "$guest")" | grep -q '^round 50: right'; }

_ends() {
    machinectl terminate "$guest" </dev/null
    wait_until 20 is_down "$guest"
}

# A command that computes, by the settings file.
_start_computing() {    # LINE…
    _make_bare
    _settings '[Exec]' Boot=no "$@"
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    wait_until 20 _has_computed_since
}

# It has its GPU, loses it by a stop, gets it again, and what is taken leaves nothing in its root file system.
_works_bare() {
    is_attached "$guest"
    same "the GPUs" "$(_inside "$smi" -L | grep -c GPU-)" 1
    has "the loader's cache" "$(_inside ldconfig -p)" "libcuda.so.1 (libc6,x86-64) => /run/cuda-nspawn/driver/"
    systemctl stop "cuda-nspawn@$guest"
    wait_until 10 _bare _has_nothing_of_ours
    same "its door, detached" "$(_bare door "$guest" "$(node_of 0)")" closed
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    same "the GPUs, again" "$(_inside "$smi" -L | grep -c GPU-)" 1
    same "its door" "$(_bare door "$guest" "$(node_of 0)")" open
    systemctl stop "cuda-nspawn@$guest"
    wait_until 10 _bare _has_nothing_of_ours
    same "the guest's files" "$(_own_files)" "$before"
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
}

a_command_that_runs_instead_of_a_systemd_has_its_GPU_from_the_first_instruction_on() {
    _start_computing Parameters=/usr/local/bin/compute
    _works_bare
    same "the first process" "$(cat "/proc/$(leader_of "$guest")/comm")" compute
    _ends
    # Nobody took back what it had at its end.
    cuda-nspawnctl detach --offline "$guest"
    same "the guest's files" "$(_own_files)" "$before"
    _leaves_no_trace
}

a_command_of_a_user_of_the_guest_and_one_beside_a_stub_have_it_too() {
    local setting
    for setting in User=nobody ProcessTwo=yes; do
        _start_computing "$setting" Parameters=compute
        _works_bare
        _ends
        _leaves_no_trace
        case_begin=$(date '+%Y-%m-%d %H:%M:%S.%6N')
    done
}

# Its command is not in the settings file but in the unit, where it is not ours to change: the GPU comes a moment later.
a_command_in_the_unit_gets_its_GPU_a_moment_later() {
    _make_bare
    mkdir -p "/etc/systemd/system/$(unit_of "$guest").d"
    printf '%s\n' '[Service]' ExecStart= "ExecStart=systemd-nspawn --quiet --keep-unit --settings=override -U --machine=%i sleep infinity" \
        >"/etc/systemd/system/$(unit_of "$guest").d/command.conf"
    systemctl daemon-reload
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    _works_bare
    _ends
    _leaves_no_trace
}

# What systemd-nspawn sends to have it halt is SIGRTMIN+3 and +4.
_give_another_init() {
    local root=/var/lib/machines/$guest
    rm "$root/usr/lib/systemd/systemd" "$root/usr/sbin/init"
    # shellcheck disable=SC2016 # for that shell
    printf '%s\n' '#!/bin/sh' 'trap "exit 0" 37 38' 'while :; do sleep 1000 & wait $!; done' >"$root/usr/sbin/init"
    chmod 755 "$root/usr/sbin/init"
}

a_guest_with_another_init_works() {
    _make_bare _give_another_init
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    _works_bare
    # The daemon's own restart: what it finds running, it attends to again.
    systemctl restart cuda-nspawnd
    wait_until 10 property_is "$guest" State attached
    policy "$guest" 'gpus: none'
    wait_until 10 _bare _has_nothing_of_ours
    same "the guest's files" "$(_own_files)" "$before"
    _ends
    _leaves_no_trace
}

a_shell_that_somebody_starts_by_hand_gets_its_GPU() {
    _make_bare
    policy "$guest" 'gpus: [0]'
    wait_until 10 property_is "$guest" State ready
    setsid systemd-nspawn --quiet --directory="/var/lib/machines/$guest" --machine="$guest" -U sleep infinity </dev/null >/dev/null 2>&1 &
    wait_for_verdict "$guest" 0
    same Unit "$(property "$guest" Unit)" "machine-$guest.scope"
    _works_bare
    _ends
    _leaves_no_trace
}

# Its package manager runs ldconfig, and may.
ldconfig_of_a_guest_without_systemd_keeps_the_driver() {
    _start_computing DropCapability=CAP_SYS_ADMIN Parameters=compute
    _inside ldconfig
    _works_bare
    _ends
    _leaves_no_trace
}

# What has no root that may write, or can: nothing is left to do but to bind a cache over the guest's.
a_command_in_a_read_only_guest_works() {
    _start_computing Parameters=compute '[Files]' ReadOnly=yes
    _works_bare
    _ends
    _leaves_no_trace
}
