# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The package goes; guests that run go on, and start again without us.

_no_unit_process_or_mount_is_left() {
    # Names that a link of systemctl enable or a running unit has are no units.
    same "units" "$(systemctl --no-legend --plain list-units 'cuda-nspawn*' 'run-cuda*')" ""
    same "unit files" "$(systemctl --no-legend list-unit-files '*cuda*')" ""
    same "processes" "$(find /proc -maxdepth 2 -name exe -lname '/usr/*/cuda-nspawn*' 2>/dev/null)" ""
    same "mounts" "$(findmnt --list --noheadings --output TARGET | grep cuda-nspawn)" ""
    # What was enabled stays so until the purge.
    same "drop-ins, settings and rules" "$(find /run/systemd /etc/systemd \( -path '*cuda-nspawn*' -o -name '*.nspawn' \
        -o -path '*/system.control/*nspawn*/*' \) ! -path '*.wants/*' ! -path '/run/systemd/units/*')" ""
}

# Whether who is in the machine's cgroup can open a node. The host's own: the machine's directory may be gone.
_opens() {    # MACHINE NODE
    local answer
    # shellcheck disable=SC2016 # for another shell
    answer=$(sh -c 'echo $$ >"/sys/fs/cgroup$(sed -n s/^0:://p "/proc/$1/cgroup")/cgroup.procs" && exec 3<>"$2"' \
        sh "$(leader_of "$1")" "$2" 2>&1) || :
    [[ $answer != *"Operation not permitted"* ]] || return 1
    [[ -z $answer || $answer == *"No such device or address"* ]] || fail "$answer"
}

_has_cleaned_itself() { [ ! -e "/var/lib/machines/$trainer/etc/ld.so.conf.d/00-cuda-nspawn.conf" ]; }

removed_under_a_guest_that_computes_it_takes_the_GPU_and_the_guest_goes_on() {
    local leader
    _have_machine
    systemctl --quiet enable "cuda-nspawn@$trainer"
    _begin_computing "$trainer"
    leader=$(leader_of "$trainer")
    _opens "$trainer" /dev/nvidia0
    _apt remove cuda-nspawn
    _no_unit_process_or_mount_is_left
    has_no_rules_of_ours "$trainer"
    refused _opens "$trainer" /dev/nvidia0
    same "the machine's first process" "$(leader_of "$trainer")" "$leader"
    # It has its GPU open, which no rule closes.
    _computes_undisturbed "$trainer"
    _stop_computing "$trainer"
    wait_until 20 _has_cleaned_itself
    refused in_guest "$trainer" nvidia-smi -L
}

installed_again_it_gives_the_GPU_to_the_guest_that_still_runs() {
    local leader
    _is_installed || leader=$(leader_of "$trainer")
    _have_machine
    same "the machine's first process" "$(leader_of "$trainer")" "${leader:-$(leader_of "$trainer")}"
    sees_exactly "$trainer" 0
    same "the door" "$(door "$trainer" "$(node_of 0)")" open
}

# Whose unit has failed and so cannot be stopped.
removed_it_takes_the_GPU_also_from_a_guest_that_did_not_pass() {
    _simulated_only
    _have_machine
    _driver --gpus 3 --fault wrong-result
    refused systemctl restart "cuda-nspawn@$trainer"
    same "cuda-nspawn@$trainer" "$(systemctl is-active "cuda-nspawn@$trainer")" failed
    _opens "$trainer" /dev/nvidia0
    _apt remove cuda-nspawn
    _no_unit_process_or_mount_is_left
    refused _opens "$trainer" /dev/nvidia0
    _driver --gpus 3
}

without_it_machines_start_as_if_it_had_never_been_there() {
    _have_machine
    _apt remove cuda-nspawn
    end_machines "$trainer"
    boot "$trainer"
    has_no_rules_of_ours "$trainer"
    refused in_guest "$trainer" nvidia-smi -L
    end_machines "$trainer"
    _no_unit_process_or_mount_is_left
    same "what is left in the guest" "$(find "/var/lib/machines/$trainer" -xdev -name '*cuda-nspawn*')" ""
}

a_purge_leaves_policies_and_nothing_else() {
    _have_machine
    systemctl --quiet enable "cuda-nspawn@$trainer"
    end_machines "$trainer"
    cuda-nspawnctl audit >/dev/null || :
    [ -e /var/cache/cuda-nspawn ]
    _apt purge cuda-nspawn
    [ ! -e /var/cache/cuda-nspawn ]
    _no_unit_process_or_mount_is_left
    same "what is left in /etc" "$(find /etc -name '*cuda-nspawn*' -o -path '*cuda-nspawn/*' -type f)" \
        "$(printf '%s\n' /etc/cuda-nspawn "$policies/$trainer.yaml")"
}

a_purge_without_policies_leaves_nothing() {
    _have_package
    rm -rf "/var/lib/machines/$trainer" "$policies/$trainer.yaml"
    _apt purge cuda-nspawn
    same "what came and what went" "$(_everything | diff "$before" -)" ""
}
