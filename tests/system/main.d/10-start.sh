# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# From nothing to a passed verdict, on three releases of Debian; what a machine sees and what it does not.

start_gives_a_machine_its_GPU_and_passes() {
    _make trixie "$thirteen"
    policy "$thirteen" 'gpus: [0]' 'capabilities: [compute, utility]' 'self_test: quick'
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
    same "Gpus" "$(property "$thirteen" Gpus)" "as 1 \"$(gpu_field 0 uuid)\""
    same "Unit" "$(property "$thirteen" Unit)" "$(unit_of "$thirteen")"
    has "cuda-nspawnctl list" "$(cuda-nspawnctl list)" "$thirteen"
    has "the journal" "$(journalctl --output=cat --since "$case_begin" CUDA_NSPAWN_MACHINE="$thirteen")" \
        "$thirteen: self-test passed: 1 GPU"
}

the_machine_runs_with_users_of_its_own_and_closed_devices() {
    has "the unit's file" "$(systemctl show --property=FragmentPath --value "$(unit_of "$thirteen")")" \
        /usr/lib/systemd/system/systemd-nspawn@.service
    same DevicePolicy "$(systemctl show --property=DevicePolicy --value "$(unit_of "$thirteen")")" closed
    [ "$(awk '{ print $2; exit }' "/proc/$(leader_of "$thirteen")/uid_map")" -ne 0 ]
}

a_machine_gets_the_GPU_that_is_named_by_UUID_on_debian_11() {
    _make bullseye "$eleven"
    policy "$eleven" "gpus: [$(gpu_field "$other_gpu" uuid)]"
    systemctl start "cuda-nspawn@$eleven"
    is_attached "$eleven"
    sees_exactly "$eleven" "$other_gpu"
}

a_machine_gets_all_GPUs_on_debian_12() {
    _make bookworm "$twelve"
    policy "$twelve" 'gpus: all'
    systemctl start "cuda-nspawn@$twelve"
    is_attached "$twelve"
    # shellcheck disable=SC2046 # words
    sees_exactly "$twelve" $(seq 0 $((gpus - 1)))
}

a_name_may_have_64_characters_and_a_GPU_may_be_named_by_its_PCI_address() {
    same "the name's length" "${#longest}" 64
    _make trixie "$longest"
    policy "$longest" "gpus: [\"$(find /proc/driver/nvidia/gpus -mindepth 1 -printf '%f\n' | sort | head -n 1)\"]"
    systemctl start "cuda-nspawn@$longest"
    is_attached "$longest"
    sees_exactly "$longest" 0
    end_machines "$longest"
    rm "$policies/$longest.yaml"
    rm -rf "/var/lib/machines/$longest"
}

a_service_of_the_guest_has_CUDA_as_soon_as_sysinit_target_is_reached() {
    local machine setup sysinit
    for machine in "$thirteen" "$eleven"; do
        same "$machine: early-cuda.service" "$(in_guest "$machine" systemctl is-active early-cuda.service)" active
        setup=$(in_guest "$machine" systemctl show --property=ActiveEnterTimestampMonotonic cuda-nspawn-setup.service)
        sysinit=$(in_guest "$machine" systemctl show --property=ActiveEnterTimestampMonotonic sysinit.target)
        [ "${setup#*=}" -lt "${sysinit#*=}" ]
    done
}

programs_of_the_guest_find_the_driver_without_any_variable() {
    local machine
    for machine in "$thirteen" "$eleven"; do
        has "$machine: ldconfig -p" "$(in_guest "$machine" ldconfig -p | grep -m 1 'libcuda.so.1 ')" \
            '=> /run/cuda-nspawn/driver/compute/lib/libcuda.so.1'
        lacks "$machine: the environment" "$(in_guest "$machine" env)" LD_LIBRARY_PATH
        has "$machine: a CUDA program" "$(in_guest "$machine" /run/cuda-nspawn/guest/self-test quick)" \
            '"check":"kernel","result":"passed"'
    done
}

each_machine_opens_its_own_GPU_and_no_other() {
    _two_gpus
    sees_exactly "$thirteen" 0
    sees_exactly "$eleven" "$other_gpu"
    same "$thirteen, its own GPU" "$(door "$thirteen" "$(node_of 0)")" open
    same "$thirteen, the other's" "$(door "$thirteen" "$(node_of "$other_gpu")")" closed
    same "$eleven, its own GPU" "$(door "$eleven" "$(node_of "$other_gpu")")" open
    same "$eleven, the other's" "$(door "$eleven" "$(node_of 0)")" closed
}

a_guest_cannot_change_what_it_is_given() {
    local command
    for command in 'mknod /run/own-node c 4 0' 'rm /run/cuda-nspawn/driver' 'mount -o remount,bind,rw /run/cuda-nspawn' \
        'umount /run/cuda-nspawn-store' 'chmod 600 /run/cuda-nspawn/dev/nvidiactl'; do
        # shellcheck disable=SC2086 # words
        refused in_guest "$thirteen" $command
    done
}
