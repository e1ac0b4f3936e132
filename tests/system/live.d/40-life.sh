# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Images come, are copied, renamed and go; a policy waits for its image.

_belongs_to() {    # MACHINE: paths of ours that name it
    find /run/cuda-nspawn /run/systemd/nspawn /run/systemd/system /run/systemd/system.control -name "*$1*" 2>/dev/null
}
_has_nothing() { same "what $1 has" "$(_belongs_to "$1")" ""; }

a_policy_waits_for_its_image_and_one_that_is_imported_starts_with_its_GPU() {
    local archive
    archive=$(mktemp --suffix=.tar)
    policy imported 'gpus: [0]'
    wait_until 10 property_is imported State ready
    has StateText "$(property imported StateText)" 'no image of machine "imported" yet'
    tar -C /usr/share/lab/guests/trixie -cf "$archive" .
    # What machinectl import-tar does, without the service that this host may not have.
    mkdir /var/lib/machines/.#imported
    tar -C /var/lib/machines/.#imported -xf "$archive"
    mv /var/lib/machines/.#imported /var/lib/machines/imported
    rm "$archive"
    wait_until 10 property_is imported StateText 'prepared; the machine is not running'
    machinectl start imported </dev/null
    wait_for_verdict imported 0
}

a_clone_has_its_own_policy_and_shares_nothing() {
    end_machines imported
    machinectl clone imported copy-of </dev/null
    wait_until 10 _has_nothing copy-of      # machinectl copies settings files, ours too
    policy copy-of "gpus: [$other_gpu]"
    wait_until 10 property_is copy-of State ready
    systemctl start cuda-nspawn@copy-of cuda-nspawn@imported
    is_attached copy-of
    is_attached imported
    sees_exactly copy-of "$other_gpu"
    sees_exactly imported 0
    end_machines copy-of imported
}

a_renamed_machine_takes_nothing_along() {
    machinectl rename copy-of renamed </dev/null
    wait_until 10 property_has copy-of StateText 'no image of machine "copy-of" yet'
    boot renamed
    refused in_guest renamed test -e /run/cuda-nspawn
    end_machines renamed
    mv "$policies/copy-of.yaml" "$policies/renamed.yaml"
    wait_until 10 _has_nothing copy-of
    systemctl start cuda-nspawn@renamed
    sees_exactly renamed "$other_gpu"
    end_machines renamed
}

nothing_stays_of_a_machine_that_is_removed() {
    local machine
    for machine in renamed imported; do
        machinectl remove "$machine" </dev/null
        wait_until 10 property_has "$machine" StateText 'no image of machine'
        rm "$policies/$machine.yaml"
        wait_until 10 _has_nothing "$machine"
        same "units of $machine" "$(systemctl list-units --all --no-legend "*$machine*")" ""
    done
}

a_policy_that_an_editor_saves_in_its_own_way_is_read() {
    local file=$policies/$by_unit.yaml
    _all_are_attached
    # vim: writes a backup, a new file, renames. nano: truncates and writes. sed -i: a new file, renamed.
    mv "$file" "$file~"
    printf '%s\n' "gpus: [$other_gpu]" >"$file"
    rm "$file~"
    wait_until 10 _sees "$by_unit" "$other_gpu"
    printf '%s\n' 'gpus: [0]' >"$file"
    wait_until 10 _sees "$by_unit" 0
    sed -i "s/0/$other_gpu/" "$file"
    wait_until 10 _sees "$by_unit" "$other_gpu"
    policy "$by_unit" 'gpus: [0]'
    wait_until 10 _sees "$by_unit" 0
}

_sees() { property_is "$1" Gpus "as 1 \"$(gpu_field "$2" uuid)\""; }

a_policy_that_is_broken_takes_nothing_and_is_told_with_its_line() {
    local leader
    leader=$(leader_of "$by_unit")
    policy "$by_unit" 'gpus: [0]' 'gpuss: all'
    wait_until 10 property_has "$by_unit" PolicyErrors "$by_unit.yaml:2:"
    sees_exactly "$by_unit" 0
    same State "$(property "$by_unit" State)" attached
    policy "$by_unit" 'gpus: [0]'
    wait_until 10 property_is "$by_unit" PolicyErrors 'as 0'
    same "the first process" "$(leader_of "$by_unit")" "$leader"
}
