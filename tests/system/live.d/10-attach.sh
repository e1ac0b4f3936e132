# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# A guest that runs gets its GPU, more, fewer, none, and never restarts; however it was started.

_gets_it_by_its_policy() {    # MACHINE
    local leader
    leader=$(leader_of "$1")
    refused in_guest "$1" test -e /run/cuda-nspawn
    policy "$1" 'gpus: [0]'
    wait_for_verdict "$1" 0
    same "$1: the first process" "$(leader_of "$1")" "$leader"
    sees_exactly "$1" 0
    same "$1: the door" "$(door "$1" "$(node_of 0)")" open
    has "$1: a CUDA program" "$(in_guest "$1" timeout 1 compute || :)" 'round 50: right'
    has "$1: the journal" "$(journalctl --output=cat --since "$case_begin" CUDA_NSPAWN_MACHINE="$1")" \
        'started without our settings: the driver was mounted into it' 'self-test passed'
}

_find_knows_no_policy() { refused object_of "$1"; }

a_guest_that_systemctl_started_before_it_had_a_policy() {
    _make_live trixie "$by_unit"
    boot "$by_unit"
    _gets_it_by_its_policy "$by_unit"
}

a_guest_that_machinectl_started_before_it_had_a_policy() {
    _make_live bullseye "$by_machinectl"
    machinectl start "$by_machinectl" </dev/null
    wait_until 30 has_booted "$by_machinectl"
    _gets_it_by_its_policy "$by_machinectl"
}

a_guest_that_somebody_started_by_hand_before_it_had_a_policy() {
    _make_live "$of_by_hand" "$by_hand"
    _start_by_hand "$by_hand"
    _gets_it_by_its_policy "$by_hand"
}

a_guest_that_is_just_booting_when_its_policy_comes() {
    end_machines "$by_unit"
    rm "$policies/$by_unit.yaml"
    wait_until 10 test ! -e "/run/systemd/nspawn/$by_unit.nspawn"
    systemctl start --no-block "$(unit_of "$by_unit")"
    wait_until 10 leader_of "$by_unit"
    policy "$by_unit" 'gpus: [0]'
    wait_for_verdict "$by_unit" 0
    sees_exactly "$by_unit" 0
}

# systemd runs no ExecStop= of a unit that has not started yet.
a_stop_that_comes_before_the_start_has_ended_takes_the_GPU() {
    local tenths
    for tenths in 0 1 2 4; do
        systemctl stop "cuda-nspawn@$by_unit"
        systemctl start --no-block "cuda-nspawn@$by_unit"
        sleep "0.$tenths"
        systemctl stop "cuda-nspawn@$by_unit"
        wait_until 10 property_is "$by_unit" State detached
        same "$by_unit: the door" "$(door "$by_unit" "$(node_of 0)")" closed
        same "cuda-nspawn@$by_unit" "$(systemctl is-active "cuda-nspawn@$by_unit")" inactive
    done
    systemctl start "cuda-nspawn@$by_unit"
    is_attached "$by_unit"
}

what_was_mounted_into_it_reaches_neither_store_nor_host() {
    local before machine
    before=$(cd /var/lib/cuda-nspawn/driver && find . -type f -exec sha256sum {} + | sort | sha256sum)
    for machine in "$by_unit" "$by_hand"; do
        has "$machine: its mounts" "$(in_guest "$machine" grep ' /run/cuda-nspawn' /proc/self/mountinfo)" \
            ' /run/cuda-nspawn ro,' ' /run/cuda-nspawn-store ro,'
        # Its root may change the flags of what came later; the files stay another's.
        in_guest "$machine" sh -c 'mount -o remount,bind,rw /run/cuda-nspawn; mount -o remount,bind,rw /run/cuda-nspawn-store' || :
        # shellcheck disable=SC2016 # for the guest's shell
        refused in_guest "$machine" sh -c 'touch /run/cuda-nspawn/new || touch /run/cuda-nspawn-store/new ||
            rm /run/cuda-nspawn/driver || chmod 600 /run/cuda-nspawn/dev/nvidiactl || echo x >>/run/cuda-nspawn/guest/epoch ||
            for file in $(find /run/cuda-nspawn-store/ -type f); do echo x >>$file && exit; done; false'
        in_guest "$machine" mount -t tmpfs tmpfs /run/cuda-nspawn-store
        in_guest "$machine" mount -t tmpfs tmpfs /run/cuda-nspawn/dev
    done
    same "the store" "$(cd /var/lib/cuda-nspawn/driver && find . -type f -exec sha256sum {} + | sort | sha256sum)" "$before"
    lacks "the host's mounts" "$(cat /proc/self/mountinfo)" " /var/lib/cuda-nspawn/driver rw" "/machines/$by_unit/dev "
    for machine in "$by_unit" "$by_hand"; do
        in_guest "$machine" umount /run/cuda-nspawn-store
        in_guest "$machine" umount /run/cuda-nspawn/dev
        sees_exactly "$machine" 0
    done
}

# What a guest has bound over its /run is the host's, and stays as it is.
a_guest_that_binds_a_directory_of_the_hosts_over_its_run_is_refused() {
    local settings=/etc/systemd/nspawn/$by_machinectl.nspawn
    end_machines "$by_machinectl"
    rm "$policies/$by_machinectl.yaml"
    mkdir -p /srv/of-the-host /etc/systemd/nspawn
    printf '%s\n' '[Files]' 'Bind=/srv/of-the-host:/mnt' >"$settings"
    wait_until 10 test ! -e "/run/systemd/nspawn/$by_machinectl.nspawn"
    boot "$by_machinectl"
    # In the mount namespace of its first process.
    in_guest "$by_machinectl" mount --bind /mnt /run
    policy "$by_machinectl" 'gpus: [0]'
    wait_until 60 property_has "$by_machinectl" StateText 'cannot make a directory in its /run'
    same "the host's directory" "$(ls -A /srv/of-the-host)" ""
    rm "$settings" "$policies/$by_machinectl.yaml"
    systemctl kill --signal=KILL "$(unit_of "$by_machinectl")"    # it would take long to end by itself
    wait_until 30 is_down "$by_machinectl"
    rm -r /srv/of-the-host
    systemctl reset-failed
    # A killed nspawn makes the next start fail.
    systemctl start "$(unit_of "$by_machinectl")" || boot "$by_machinectl"
    wait_until 30 has_booted "$by_machinectl"
    policy "$by_machinectl" 'gpus: [0]'
    wait_for_verdict "$by_machinectl" 0
}

what_a_guest_unmounts_it_gets_back_when_asked_for() {
    in_guest "$by_unit" umount --lazy /run/cuda-nspawn
    systemctl reload "cuda-nspawn@$by_unit"
    is_attached "$by_unit"
    sees_exactly "$by_unit" 0
}

it_is_detached_and_attached_like_any_other() {
    local machine
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do
        systemctl stop "cuda-nspawn@$machine"
        same "$machine: the door" "$(door "$machine" "$(node_of 0)")" closed
        wait_until 10 _has_no_nvidia_in_dev "$machine"
        refused in_guest "$machine" nvidia-smi -L
        systemctl start "cuda-nspawn@$machine"
        is_attached "$machine"
        sees_exactly "$machine" 0
    done
}

# NVIDIA's library makes an empty directory nvidia-caps there.
_has_no_nvidia_in_dev() { [ -z "$(in_guest "$1" find /dev ! -type d -name 'nvidia*')" ]; }

# What is open stays open: the kernel asks when a device is opened. So it goes on, is named, and nothing new begins.
a_program_that_computes_while_its_GPU_is_taken_is_named_and_goes_on() {
    local pid
    _all_are_attached
    _begin_computing "$by_unit"
    pid=$(in_guest "$by_unit" systemctl show --property=MainPID --value compute)
    systemctl stop "cuda-nspawn@$by_unit"
    same "the door" "$(door "$by_unit" "$(node_of 0)")" closed
    _computes_undisturbed "$by_unit"
    has "cuda-nspawnctl holders" "$(cuda-nspawnctl holders "$by_unit" | tr -s ' ')" "$by_unit " " $pid compute " nvidia0
    has "systemctl status" "$(status_of "$by_unit")" 'still open in pid' '(compute)'
    has "a new program" "$(in_guest "$by_unit" compute 2>&1 || :)" 'round 0: '
    lacks "a new program" "$(in_guest "$by_unit" timeout 1 compute 2>&1 || :)" right
    systemctl start "cuda-nspawn@$by_unit"
    is_attached "$by_unit"
    _computes_undisturbed "$by_unit"
    _stop_computing "$by_unit"
    same "holders" "$(cuda-nspawnctl holders "$by_unit")" 'nobody holds a GPU open'
}

more_GPUs_and_fewer_by_editing_the_policy() {
    _two_gpus
    _all_are_attached
    local machine
    for machine in "$by_unit" "$by_hand"; do
        _becomes "$machine" 'gpus: [0, 1]' 0 1
        _begin_computing "$machine"
        _becomes "$machine" 'gpus: [1]' 1
        same "$machine: the first GPU" "$(door "$machine" "$(node_of 0)")" closed
        _becomes "$machine" 'gpus: all' 0 1 2
        _computes_undisturbed "$machine"
        _stop_computing "$machine"
    done
}

_becomes() {    # MACHINE POLICY-LINE GPU-INDEX…
    local machine=$1 before
    before=$(property "$machine" LastSelfTest)
    policy "$machine" "$2"
    shift 2
    wait_for_verdict "$machine" "$before"
    sees_exactly "$machine" "$@"
    # The shared nodes stay as long as there is one GPU.
    same "$machine: nvidiactl" "$(door "$machine" "$(major_of nvidiactl):255")" open
    same "$machine: nvidia-uvm" "$(door "$machine" "$(major_of nvidia-uvm):0")" open
}

gpus_none_takes_everything_and_a_GPU_brings_it_back() {
    _all_are_attached
    policy "$by_unit" 'gpus: none'
    wait_until 10 property_is "$by_unit" State blocked
    wait_until 10 _has_no_nvidia_in_dev "$by_unit"
    has_no_rules_of_ours "$by_unit"
    same "nvidiactl" "$(door "$by_unit" "$(major_of nvidiactl):255")" closed
    _becomes "$by_unit" 'gpus: [0]' 0
}

a_policy_that_goes_takes_everything_and_one_that_comes_back_brings_it() {
    local leader
    leader=$(leader_of "$by_hand")
    rm "$policies/$by_hand.yaml"
    wait_until 10 _has_no_nvidia_in_dev "$by_hand"
    same "the first process" "$(leader_of "$by_hand")" "$leader"
    policy "$by_hand" 'gpus: [0]'
    wait_for_verdict "$by_hand" 0
    sees_exactly "$by_hand" 0
}

a_guest_that_got_everything_while_it_ran_has_nothing_left_of_it_after_its_end() {
    local root=/var/lib/machines/$by_unit
    _all_are_attached
    [ -e "$root/etc/ld.so.conf.d/00-cuda-nspawn.conf" ]
    end_machines "$by_unit"
    same "what is left" "$(cd "$root" && find etc usr run -name '*cuda-nspawn*' -o -name 'nvidia*' ! -path '*early*')" ""
    lacks "its loader's cache" "$(strings -n 8 "$root/etc/ld.so.cache" 2>/dev/null || tr -c '[:print:]' '\n' <"$root/etc/ld.so.cache")" /run/cuda-nspawn
    boot "$by_unit"
    wait_for_verdict "$by_unit" 0
}
