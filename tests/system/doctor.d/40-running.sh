# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The machine while it runs.

gpus_that_were_taken() {
    _running_patient
    systemctl stop "cuda-nspawn@$guest"
    _finds detached "systemctl start cuda-nspawn@$guest"
    _mend
    is_attached "$guest"
    _is_well
    _discharged
}

# "Works by hand, fails as a service": the rules are what differs.
a_rule_that_somebody_took_back() {
    _running_patient
    wait_until 30 has_booted "$guest"
    systemctl set-property --runtime "systemd-nspawn@$guest" DeviceAllow= 'DeviceAllow=char-pts rw'
    same "its door" "$(door "$guest" "$(node_of 0)")" closed
    _finds rule-missing "/dev/nvidiactl" "EPERM"
    _mend
    same "its door" "$(door "$guest" "$(node_of 0)")" open
    wait_until 30 _is_well
    _discharged
}

# nvidia-smi works, and cuInit gives 999.
uvm_that_is_not_allowed() {
    local -a rules
    _running_patient
    wait_until 30 has_booted "$guest"
    mapfile -t rules < <(systemctl show --property=DeviceAllow --value "systemd-nspawn@$guest" | grep -v "/dev/char/$(major_of nvidia-uvm):")
    systemctl set-property --runtime "systemd-nspawn@$guest" DeviceAllow= "${rules[@]/#/DeviceAllow=}"
    sees_exactly "$guest" 0
    cuda-nspawnctl test "$guest" || :
    _finds rule-missing "/dev/nvidia-uvm" "explains self-test-failed: failed: isolation: /dev/nvidia-uvm" "CUDA_ERROR_UNKNOWN (999)"
    _mend
    cuda-nspawnctl attach --fresh --test "$guest"
    _is_well
    _discharged
}

mounts_that_the_guest_took_away() {
    _patient
    mkdir -p "${settings%/*}"
    printf '%s\n' '[Exec]' 'PrivateUsers=no' >"$settings"
    systemctl start "cuda-nspawn@$guest"
    wait_until 30 has_booted "$guest"
    in_guest "$guest" umount --lazy /run/cuda-nspawn
    _finds mounts-missing "runs without cuda-nspawn's two mounts"
    _mend
    wait_until 30 _is_well
    rm "$settings"
    _discharged
}

a_self_test_that_fails_for_no_known_reason() {
    _simulated_only
    _patient
    _driver --fault wrong-result
    _refreshed
    _start_fails_with self-test-failed
    _finds self-test-failed "kernel: "
    _driver
    _refreshed
    _mend
    wait_until 30 _is_well
    _discharged
}
