# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Guests without a user namespace: their root is the host's root, whom no mode of a file stops. They get, keep and lose
# the GPU as any other does.

_has_the_hosts_users() { same "$1: its root" "$(awk '{ print $2; exit }' "/proc/$(leader_of "$1")/uid_map")" 0; }

a_guest_without_users_of_its_own_goes_through_all_changes() {
    mkdir -p /etc/systemd/nspawn
    printf '%s\n' '[Exec]' PrivateUsers=no >/etc/systemd/nspawn/host-users.nspawn
    _make_live trixie host-users
    policy host-users 'gpus: [0]'
    systemctl start cuda-nspawn@host-users
    _has_the_hosts_users host-users
    _goes_through_all_changes host-users
    _leaves_nothing_behind host-users
    rm /etc/systemd/nspawn/host-users.nspawn
}

a_guest_without_users_of_its_own_that_somebody_started_by_hand_goes_through_all_changes() {
    local machine=host-users-by-hand
    _make_live "$of_by_hand" "$machine"
    _start_by_hand "$machine" --private-users=no
    _has_the_hosts_users "$machine"
    policy "$machine" 'gpus: [0]'
    wait_for_verdict "$machine" 0
    has "its mounts" "$(in_guest "$machine" grep ' /run/cuda-nspawn' /proc/self/mountinfo)" \
        ' /run/cuda-nspawn ro,' ' /run/cuda-nspawn-store ro,'
    in_guest "$machine" umount --lazy /run/cuda-nspawn /run/cuda-nspawn-store
    systemctl reload "cuda-nspawn@$machine"
    _goes_through_all_changes "$machine"
    _leaves_nothing_behind "$machine"
}

_goes_through_all_changes() {    # MACHINE
    is_attached "$1"
    sees_exactly "$1" 0
    _begin_computing "$1"
    systemctl stop "cuda-nspawn@$1"
    same "$1: the door, detached" "$(door "$1" "$(node_of 0)")" closed
    wait_until 10 _has_no_nvidia_in_dev "$1"
    # A node of its own is no way around the rules.
    refused in_guest "$1" sh -c "mknod /run/own-node c $(node_of 0 | tr : ' ') && exec 3<>/run/own-node"
    systemctl start "cuda-nspawn@$1"
    is_attached "$1"
    if [ "$gpus" -gt 1 ]; then
        _becomes "$1" 'gpus: [1]' 1
        same "$1: the first GPU" "$(door "$1" "$(node_of 0)")" closed
        _becomes "$1" 'gpus: [0]' 0
    fi
    if [ "${LAB_DRIVER:-simulated}" = simulated ]; then
        _gets_version "$1" 999.70.00
        _gets_version "$1" 999.42.01
    fi
    _computes_undisturbed "$1"
    _stop_computing "$1"
}

_gets_version() {    # MACHINE VERSION
    local before
    before=$(property "$1" LastSelfTest)
    _driver --version "$2"
    wait_for_verdict "$1" "$before"
    _has_version "$1" "$2"
    has "$1: a new program" "$(in_guest "$1" timeout 1 compute || :)" "libcuda.so.$2" 'round 50: right'
}

_leaves_nothing_behind() {    # MACHINE
    local root=/var/lib/machines/$1
    end_machines "$1"
    same "what is left in $1" "$(cd "$root" && find etc usr run -name '*cuda-nspawn*' -o -name 'nvidia*' ! -path '*early*')" ""
    rm "$policies/$1.yaml"
    wait_until 10 test ! -e "/run/cuda-nspawn/machines/$1" -a ! -e "/run/systemd/nspawn/$1.nspawn"
    rm -rf "$root"
}
