# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Each example of machines/ does in a machine what its first lines say, and so do the commands in them. The GPUs that they name
# are those of nobody: here they become the host's.

_example() {    # NAME
    sed "s/GPU-3f8e2a61-5c47-4b0d-9e12-7a6c0d4f1b28/$(gpu_field 1 uuid)/; s/0000:65:00.0/$(_address_of 2)/" "../../machines/$1.yaml"
}

_address_of() { basename "$(find /proc/driver/nvidia/gpus -mindepth 1 -maxdepth 1 | sort | sed -n "$(($1 + 1))p")"; }    # INDEX

# The machine has the example as its policy, and is asked what is so then.
_attached_by() {    # EXAMPLE
    echo "machines/$1.yaml"
    _has_policy "$(_example "$1")"
    _run_document "machines/$1.yaml"
}

every_example_is_tried_here() {
    local example
    for example in ../../machines/*; do
        example=$(basename "$example" .yaml)
        grep -qwF "$example" docs.d/20-examples.sh || fail "no case tries machines/$example.yaml"
    done
}

the_examples_that_name_GPUs_give_these() {
    _simulated_only
    _trainer
    _attached_by all-gpus
    sees_exactly "$trainer" 0 1 2
    _attached_by one-by-index
    sees_exactly "$trainer" 0
    _attached_by one-by-uuid
    sees_exactly "$trainer" 1
    _attached_by beside-mig
    sees_exactly "$trainer" 1
    _attached_by one-by-pci-address
    sees_exactly "$trainer" 2
    _attached_by several-gpus
    sees_exactly "$trainer" 0 1 2
}

compute_only_gives_CUDA_and_no_nvidia_smi() {
    _trainer
    _attached_by compute-only
    refused in_guest "$trainer" nvidia-smi -L
    has Checks "$(property "$trainer" Checks)" '"nvml" "skipped"' '"nvidia-smi" "skipped"' '"kernel" "passed"'
}

graphics_gives_the_libraries_the_node_and_the_files_that_it_names() {
    _simulated_only
    local file
    _trainer
    # Of these a driver has two that are no libraries; the simulated one has none.
    for file in glvnd/egl_vendor.d/10_nvidia.json vulkan/icd.d/nvidia_icd.json; do
        mkdir -p "/usr/share/${file%/*}"
        printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "libEGL_nvidia.so.0"}}\n' >"/usr/share/$file"
    done
    cuda-nspawnctl refresh
    policy "$trainer" "$(_example graphics)"
    wait_until 20 _guest_has_files_named_in graphics
    _attached_by graphics
    has "the guest's loader's cache" "$(in_guest "$trainer" ldconfig -p)" "libEGL_nvidia.so.0 (libc6,x86-64) => /run/cuda-nspawn/driver/graphics/lib/"
    in_guest "$trainer" test -c /dev/nvidia-modeset
    rm -r /usr/share/glvnd/egl_vendor.d/10_nvidia.json /usr/share/vulkan/icd.d/nvidia_icd.json
    cuda-nspawnctl refresh
}

_guest_has_files_named_in() {    # EXAMPLE
    local file
    while read -r file; do in_guest "$trainer" test -s "$file"; done < <(sed -n 's,^#   .*=\(/.*\),\1,p' "../../machines/$1.yaml" | grep .)
}

no_self_test_gives_no_verdict_until_it_is_asked_for() {
    _trainer
    policy "$trainer" "$(_example no-self-test)"
    cuda-nspawnctl attach --fresh "$trainer"
    systemctl restart "cuda-nspawn@$trainer"
    same Verdict "$(property "$trainer" Verdict)" none
    _run_document machines/no-self-test.yaml
    same Verdict "$(property "$trainer" Verdict)" passed
}

no_gpu_takes_all() {
    _trainer
    policy "$trainer" "$(_example no-gpu)"
    wait_until 10 property_is "$trainer" State blocked
    wait_until 10 has_no_nodes "$trainer"
    has_no_rules_of_ours "$trainer"
}

defaults_hold_for_a_policy_that_says_nothing() {
    _trainer
    _run_document machines/defaults.yaml
    same "the file" "$(cat /etc/cuda-nspawn/defaults.yaml)" "$(cat ../../machines/defaults.yaml)"
    # What it says is what holds without it; so that it is seen to be read, GPUs.
    echo 'gpus: [0, 1]' >>/etc/cuda-nspawn/defaults.yaml
    policy "$trainer" '# nothing'
    cuda-nspawnctl reload
    cuda-nspawnctl attach --test "$trainer" >/dev/null
    sees_exactly "$trainer" 0 1
    rm /etc/cuda-nspawn/defaults.yaml
}

detach_on_failure_takes_the_GPU_until_the_cause_is_mended() {
    _simulated_only
    _trainer "$(_example detach-on-failure)"
    sees_exactly "$trainer" 1
    _driver --fault wrong-result
    wait_until 20 property_is "$trainer" State detached
    wait_until 10 has_no_nodes "$trainer"
    _host_has_driver
    _run_document machines/detach-on-failure.yaml
    is_attached "$trainer"
}

stop_on_failure_stops_the_machine() {
    _simulated_only
    _trainer "$(_example stop-on-failure)"
    _driver --fault wrong-result
    wait_until 30 is_down "$trainer"
    _run_document machines/stop-on-failure.yaml
    has "systemctl status" "$(status_of "$trainer")" 'failed: kernel: '
}

read_only_works_in_a_machine_that_cannot_be_written() {
    _no_trainer
    _make_trainer
    policy "$trainer" "$(_example read-only)"
    _run_document machines/read-only.yaml
    is_attached "$trainer"
    refused in_guest "$trainer" touch /etc/written
    _no_trainer
}

hand_started_has_its_GPU_without_the_unit() {
    _no_trainer
    _make_trainer
    policy "$trainer" "$(_example hand-started)"
    wait_until 10 property_is "$trainer" State ready
    _run_document machines/hand-started.yaml
    _no_trainer
}

# For the document: it runs in the other shell.
_started_by_hand() {    # COMMAND…
    setsid "$@" </dev/null >/dev/null 2>&1 &
    wait_until 30 has_booted "$trainer"
}

_hand_started_and_ended() {
    same Unit "$(property "$trainer" Unit)" "machine-$trainer.scope"
    sees_exactly "$trainer" 0
    end_machines "$trainer"
}
