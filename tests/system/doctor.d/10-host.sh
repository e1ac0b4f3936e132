# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The host: GPUs, modules, files of the driver. What a real driver cannot be made to do here is done by the simulated one.

in_a_healthy_machine_nothing_is_found() {
    _running_patient
    _is_well
    has "the diagnosis" "$(_diagnosis)" "$guest: nothing found"
    same "its exit status" "$(cuda-nspawnctl diagnose "$guest" >/dev/null; echo $?)" 0
    same "as JSON" "$(cuda-nspawnctl diagnose --json "$guest")" "[]"
    end_machines "$guest"
    _is_well    # prepared, and not running
    _discharged
}

a_machine_without_a_policy() {
    _patient
    rm "$policies/$guest.yaml"
    wait_until 10 _knows_no_machine
    _finds no-policy "There is no policy for machine \"$guest\""
    _mend
    _starts_again
    _discharged
}

a_policy_that_grants_nothing() {
    _patient 'gpus: none'
    _finds policy-grants-none "$policies/$guest.yaml"
    _start_fails_with policy-grants-none
    _mend
    _starts_again
    _discharged
}

a_policy_with_a_mistake() {
    _patient 'gpu: all'
    _finds policy-invalid "$guest.yaml:1:1"
    _start_fails_with policy-invalid
    policy "$guest" 'gpus: [0]'
    _starts_again
    policy "$guest" 'gpus: [0]' 'oops: 1'
    wait_until 10 property_has "$guest" PolicyErrors oops
    _finds policy-invalid "the last good policy stays in force" "$guest.yaml:2:1" "warning: "
    _discharged
}

a_host_without_a_gpu() {
    _simulated_only
    _patient
    _driver --remove
    _refreshed
    _pci_has 0000:00:01.0 0x060400 pcieport
    _finds no-gpu-in-host "explains no-module: no NVIDIA kernel module is loaded"
    _start_fails_with no-gpu-in-host
    _pci_as_it_was
    _driver
    _refreshed
    _starts_again
    _discharged
}

a_module_that_is_not_loaded() {
    _simulated_only
    _patient
    _driver --remove
    _refreshed
    _pci_has 0000:01:00.0 0x030200 ''
    _finds no-module "/proc/driver/nvidia/version: not there"
    _start_fails_with no-module
    _simulated_modprobe
    _mend
    _refreshed
    _starts_again
    rm /usr/local/sbin/modprobe
    _pci_as_it_was
    _discharged
}

# What /sys/module shows is made up; NVIDIA's module is really not there.
nouveau_in_the_way() {
    _simulated_only
    _patient
    _driver --remove
    _refreshed
    _pci_has 0000:01:00.0 0x030200 nouveau
    _module_is_loaded nouveau
    _finds nouveau-in-the-way "explains no-module"
    _start_fails_with nouveau-in-the-way
    umount /sys/module
    _simulated_modprobe
    _mend
    rm /etc/modprobe.d/blacklist-nouveau.conf
    _refreshed
    _starts_again
    _host_as_it_was
    _discharged
}

a_module_that_the_kernel_refuses() {
    _simulated_only
    _patient
    _driver --remove
    _refreshed
    _pci_has 0000:01:00.0 0x030200 ''
    _kernel_says 'Lockdown: modprobe: unsigned module loading is restricted; see man kernel_lockdown.7'
    _finds module-refused "explains no-module" "kernel log: Lockdown: modprobe"
    _start_fails_with module-refused
    _host_as_it_was
    _starts_again
    _discharged
}

a_gpu_that_fell_off_the_bus() {
    _simulated_only
    _patient
    _driver --fault wrong-result
    _refreshed
    _kernel_says "NVRM: Xid (PCI:0000:01:00): 13, pid=1, Graphics Exception"
    _start_fails_with gpu-error
    _finds gpu-error "Xid 13 of the GPU at 0000:01:00" "explains self-test-failed"
    _kernel_says "NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', GPU has fallen off the bus."
    _finds gpu-off-the-bus "The GPU at 0000:01:00 has fallen off the bus" "explains gpu-error" "explains self-test-failed"
    _driver
    _refreshed
    wait_until 30 _is_well
    _discharged
}

a_gpu_that_a_virtual_machine_has() {
    _simulated_only
    _patient 'gpus: [0, "0000:c1:00.0"]'
    _pci_has 0000:c1:00.0 0x030200 vfio-pci
    _finds gpu-taken-by-vfio 0000:c1:00.0 "explains gpu-not-found"
    _start_fails_with gpu-taken-by-vfio
    _pci_as_it_was
    policy "$guest" 'gpus: [0]'
    _starts_again
    _discharged
}

uvm_that_is_not_loaded() {
    _simulated_only
    _patient
    _driver --without-uvm
    _refreshed
    _finds uvm-missing "/proc/devices: no nvidia-uvm"
    _start_fails_with uvm-missing
    _simulated_modprobe
    _mend
    _refreshed
    _starts_again
    rm /usr/local/sbin/modprobe
    _discharged
}

a_driver_without_its_files() {
    _simulated_only
    _patient
    rm /usr/lib/x86_64-linux-gnu/libcuda.so*
    ldconfig
    _refreshed
    _finds driver-files-missing "warning: " "no libcuda.so.999.42.01" "machines keep their copy"
    _driver --kernel-version 999.7701
    rm /usr/lib/x86_64-linux-gnu/libcuda.so*
    ldconfig
    _refreshed
    _finds driver-files-missing "error: " "no libcuda.so.999.7701"
    _start_fails_with driver-files-missing
    _driver
    _refreshed
    _starts_again
    _discharged
}

# With a copy of the old files machines go on: a warning. Without, nothing fits.
a_module_and_files_of_different_versions() {
    _simulated_only
    _running_patient
    _driver --version 999.50 --kernel-version 999.42.01
    _refreshed
    _finds version-mismatch "warning: " 999.50 "machines keep their copy of 999.42.01"
    _driver --version 999.50
    _refreshed
    wait_until 30 property_has "$guest" Generation 999.50
    wait_until 30 _is_well
    _driver --version 999.50 --kernel-version 999.7702
    _refreshed
    _finds version-mismatch "error: " "kernel module is 999.7702, driver files are 999.50"
    _driver
    _refreshed
    _starts_again
    _discharged
}

a_driver_without_a_part() {
    local file aside
    _patient
    file=$(readlink -f "$(ldconfig -p | sed -nE 's/.*libnvidia-ptxjitcompiler\.so\.1 .*x86-64.*=> (.*)/\1/p' | head -n 1)")
    [ -w "${file%/*}" ] || skip "the driver's files cannot be moved here"
    aside=$(mktemp -d)
    mv "$file" "$aside/"
    ldconfig
    _refreshed
    _start_fails_with driver-part-missing
    _finds driver-part-missing libnvidia-ptxjitcompiler.so. "error 221" "explains self-test-failed: failed: jit"
    mv "$aside/${file##*/}" "$file"
    ldconfig
    _refreshed
    systemctl start "cuda-nspawn@$guest" || :
    cuda-nspawnctl attach --fresh --test "$guest"
    wait_until 30 _is_well
    _discharged
}

a_driver_without_a_gpu() {
    _simulated_only
    _patient
    _driver --gpus 0
    _refreshed
    _pci_has 0000:01:00.0 0x030200 nvidia
    _finds no-gpu "/proc/driver/nvidia/gpus: empty"
    _pci_as_it_was
    _driver --gpus 3
    _refreshed
    _starts_again
    _discharged
}

a_gpu_that_is_not_there() {
    _patient 'gpus: [42]'
    _finds gpu-not-found "names GPU index 42" "this host has GPU"
    _start_fails_with gpu-not-found
    _mend
    _starts_again
    _discharged
}

a_gpu_in_mig_mode() {
    _simulated_only
    local capabilities=/usr/share/cuda-nspawn-simulated/proc/driver/nvidia/capabilities
    _running_patient
    mkdir -p "$capabilities/gpu$(gpu_field 0 minor)/mig/gi1"
    _finds gpu-in-mig-mode "divided into MIG instances" "nvidia-smi -i 0000:01:00.0 -mig 0"
    rm -r "$capabilities"
    _is_well
    _discharged
}

a_daemon_of_nvidias_that_does_not_run() {
    _simulated_only
    _patient 'gpus: [0]' 'sockets: [persistenced]'
    _finds socket-missing "/run/nvidia-persistenced/socket: not there"
    cat >/run/systemd/system/nvidia-persistenced.service <<'END'
[Service]
RuntimeDirectory=nvidia-persistenced
ExecStart=/usr/bin/perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "/run/nvidia-persistenced/socket", Listen => 1); sleep 1000'
[Install]
WantedBy=multi-user.target
END
    systemctl daemon-reload
    _mend
    wait_until 10 _is_well
    systemctl --quiet disable --now nvidia-persistenced
    rm /run/systemd/system/nvidia-persistenced.service
    _discharged
}

a_fabric_manager_that_does_not_run() {
    _simulated_only
    _patient
    _pci_has 0000:05:00.0 0x068000 ''
    _finds fabric-manager-missing "NVSwitch on the PCI bus" "systemctl enable --now nvidia-fabricmanager"
    _pci_as_it_was
    _discharged
}

a_node_of_the_hosts_with_an_old_number() {
    _simulated_only
    local number
    _patient
    number=$(stat -c '%t:%T' /dev/nvidia-uvm)
    rm /dev/nvidia-uvm
    mknod -m 666 /dev/nvidia-uvm c 244 0
    _finds host-node-stale "info: " "/dev/nvidia-uvm has the number 244"
    _mend
    same "the node" "$(stat -c '%t:%T' /dev/nvidia-uvm)" "$number"
    _is_well
    _discharged
}
