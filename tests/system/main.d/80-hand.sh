# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# A machine that somebody starts from a shell, without the unit.

a_machine_started_by_hand_has_its_GPU_and_a_verdict() {
    lab-guest trixie by-hand
    policy by-hand 'gpus: [0]'
    wait_until 10 property_is by-hand State ready
    setsid systemd-nspawn --quiet --directory=/var/lib/machines/by-hand --machine=by-hand --boot -U </dev/null >/dev/null 2>&1 &
    wait_for_verdict by-hand 0
    same Unit "$(property by-hand Unit)" 'machine-by\x2dhand.scope'
    sees_exactly by-hand 0
}

its_door_closes_and_opens_as_well() {
    systemctl stop cuda-nspawn@by-hand
    same "the door" "$(door by-hand "$(node_of 0)")" closed
    has_booted by-hand
    systemctl start cuda-nspawn@by-hand
    is_attached by-hand
    same "the door" "$(door by-hand "$(node_of 0)")" open
}

it_ends_and_leaves_nothing() {
    machinectl poweroff by-hand </dev/null
    wait_until 30 is_down by-hand
    wait_until 10 _is_inactive by-hand
    wait_until 10 property_is by-hand State ready
    same "what systemd wrote" "$(find /run/systemd/system.control -path '*by*hand*')" ""
    rm -r "$policies/by-hand.yaml" /var/lib/machines/by-hand
}

a_self_test_that_hangs_is_ended_and_told() {
    wait_until 80 property_is "$slow" Verdict no-verdict
    # shellcheck disable=SC2034 # of lib.sh
    case_begin=-5min  # it may have come while other cases ran
    tells "$slow" "no verdict: the self-test hung after the check 'version' and was killed after 60"
    wait_until 10 _has_failed "$slow"
    _has_no_leaf "$slow"
    same "the machine" "$(in_guest "$slow" echo runs)" runs
    end_machines "$slow"
}

_has_no_leaf() {    # MACHINE: no cgroup of the test, no process of it
    local cgroup
    cgroup=/sys/fs/cgroup$(systemctl show --property=ControlGroup --value "$(unit_of "$1")")
    same "$1: cgroups of the test" "$(find "$cgroup/payload" -maxdepth 1 -name 'cuda-nspawn*')" ""
    lacks "$1: processes" "$(in_guest "$1" sh -c 'cat /proc/[0-9]*/comm')" self-test
}
