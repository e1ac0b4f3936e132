# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Policies that change, break, vanish, or ask for what there is not.

# Runs beside the cases that follow, which do not touch the driver: its self-test takes as long as it is let.
a_machine_whose_libcuda_hangs_starts_its_self_test() {
    lab-guest trixie "$slow"
    install -D "$BUILD_DIR/tests/simulated/faults/hang/"libcuda.so.* "/var/lib/machines/$slow/opt/libcuda.so.1"
    echo /opt/libcuda.so.1 >"/var/lib/machines/$slow/etc/ld.so.preload"
    policy "$slow" 'gpus: [0]'
    systemctl start --no-block "cuda-nspawn@$slow"
    wait_until 30 has_booted "$slow"
    wait_until 30 property_is "$slow" StateText "attached; the self-test is running"
}

a_policy_that_changes_swaps_the_GPU_of_a_running_machine() {
    _two_gpus
    _set_out
    local leader before
    leader=$(leader_of "$thirteen")
    before=$(property "$thirteen" LastSelfTest)
    policy "$thirteen" 'gpus: [1]'
    wait_for_verdict "$thirteen" "$before"
    same Gpus "$(property "$thirteen" Gpus)" "as 1 \"$(gpu_field 1 uuid)\""
    sees_exactly "$thirteen" 1
    same "the door of the GPU it had" "$(door "$thirteen" "$(node_of 0)")" closed
    same "the door of the GPU it has" "$(door "$thirteen" "$(node_of 1)")" open
    same "the machine's first process" "$(leader_of "$thirteen")" "$leader"
    before=$(property "$thirteen" LastSelfTest)
    policy "$thirteen" 'gpus: [0]'
    wait_for_verdict "$thirteen" "$before"
    same "the door of the GPU it had" "$(door "$thirteen" "$(node_of 1)")" closed
}

a_broken_policy_is_told_with_its_lines_and_the_last_good_one_stays() {
    local part
    policy "$thirteen" 'gpus: [0]' 'colour: green' 'capabilities: [compute, utilty]'
    wait_until 10 property_has "$thirteen" PolicyErrors "$policies/$thirteen.yaml:2:1: "
    for part in "$thirteen.yaml:2:1: " colour "$thirteen.yaml:3:" utilty; do
        has PolicyErrors "$(property "$thirteen" PolicyErrors)" "$part"
        has "the journal" "$(journalctl --output=cat --since "$case_begin" CUDA_NSPAWN_MACHINE="$thirteen")" "$part"
    done
    is_attached "$thirteen"
    sees_exactly "$thirteen" 0
    policy "$thirteen" 'gpus: [0]'
    wait_until 10 property_is "$thirteen" PolicyErrors "as 0"
    is_attached "$thirteen"
}

a_policy_that_is_removed_takes_everything_away() {
    rm "$policies/$thirteen.yaml"
    wait_until 10 _has_no_rules "$thirteen"
    wait_until 10 _is_inactive "$thirteen"
    wait_until 10 test ! -e "/run/systemd/nspawn/$thirteen.nspawn"
    wait_until 10 has_no_nodes "$thirteen"
    same "the door" "$(door "$thirteen" "$(node_of 0)")" closed
    same "drop-ins" "$(find /run/systemd/system -path "*$thirteen*")" ""
    has "the answer" "$(refused cuda-nspawnctl attach "$thirteen" 2>&1)" "no policy for machine \"$thirteen\"" "$policies/$thirteen.yaml"
    is_running "$thirteen"
    end_machines "$thirteen"
    wait_until 10 test ! -e "/run/cuda-nspawn/machines/$thirteen"
    wait_until 10 _has_no_control_file "$thirteen"
    policy "$thirteen" 'gpus: [0]'
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
}

_has_no_rules() { [[ $(device_rules "$1") != */dev/char/* ]]; }

gpus_none_is_a_refusal_by_name_and_closes_the_door() {
    policy "$thirteen" 'gpus: none'
    wait_until 10 has_no_nodes "$thirteen"
    same "the door" "$(door "$thirteen" "$(node_of 0)")" closed
    has_no_rules_of_ours "$thirteen"
    refused systemctl restart "cuda-nspawn@$thirteen"
    tells "$thirteen" "$policies/$thirteen.yaml grants no GPU (gpus: none)"
    policy "$thirteen" 'gpus: [0]'
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
}

an_unknown_key_is_told_and_the_machine_boots() {
    end_machines "$eleven"
    rm -f "$policies/$eleven.yaml"
    wait_until 10 test ! -e "/run/cuda-nspawn/machines/$eleven"
    policy "$eleven" 'gpus: all' 'gpu_count: 1'
    refuses_but_boots "$eleven" "$policies/$eleven.yaml:2:1: " "'gpu_count' is no key of a policy"
    same State "$(property "$eleven" State)" invalid
    has_no_rules_of_ours "$eleven"
    same "what was written" "$(find /run/systemd/nspawn /run/systemd/system /run/cuda-nspawn/machines -path "*$eleven*" -name '*cuda*')" ""
}

an_unknown_GPU_is_told_and_the_machine_boots() {
    end_machines "$eleven"
    policy "$eleven" 'gpus: [7]'
    refuses_but_boots "$eleven" "machine $eleven names GPU index 7, but this host has GPU" "$(gpu_field 0 uuid)"
    same State "$(property "$eleven" State)" blocked
    same "the door" "$(door "$eleven" "$(node_of 0)")" closed
    has_no_rules_of_ours "$eleven"
}

a_machine_that_booted_without_its_GPU_gets_it_when_the_policy_is_mended() {
    policy "$eleven" "gpus: [$other_gpu]"
    wait_until 10 property_is "$eleven" State attached
    systemctl start "cuda-nspawn@$eleven"
    is_attached "$eleven"
    sees_exactly "$eleven" "$other_gpu"
}

a_machine_without_a_policy_is_refused_with_the_file_to_write() {
    refused systemctl start cuda-nspawn@nosuch
    has "systemctl status" "$(status_of nosuch)" 'no policy for machine "nosuch"' "$policies/nosuch.yaml"
    has "the bus" "$(refused busctl call "$bus" /org/cudanspawn1 "$bus.Manager" GetMachine s nosuch 2>&1)" \
        'no policy for machine "nosuch"'
    systemctl reset-failed cuda-nspawn@nosuch
}

a_name_that_is_no_machine_name_is_refused_by_name() {
    policy under_score 'gpus: all'
    wait_until 10 _journal_has "'under_score' is no machine name"
    refused systemctl start cuda-nspawn@under_score
    has "systemctl status" "$(status_of under_score)" 'under_score'
    rm "$policies/under_score.yaml"
    systemctl reset-failed cuda-nspawn@under_score
}

_journal_has() { [[ $(journalctl --output=cat --since "$case_begin" --unit=cuda-nspawnd) == *"$1"* ]]; }

a_policy_without_an_image_waits_for_it() {
    policy later 'gpus: [0]'
    wait_until 10 property_is later State ready
    has StateText "$(property later StateText)" 'no image of machine "later"'
    refused systemctl start cuda-nspawn@later
    has "systemctl status" "$(status_of later)" later
    lab-guest trixie later
    systemctl start cuda-nspawn@later
    is_attached later
    end_machines later
    rm "$policies/later.yaml"
    rm -r /var/lib/machines/later
}
