# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# An upgrade replaces what runs of ours, and disturbs no guest.

_pid_of() { systemctl show --property=MainPID --value "$1"; }

_face() {
    leader_of "$trainer"
    property "$trainer" LastSelfTest
    device_rules "$trainer"
    systemctl show --property=ActiveState --property=ActiveEnterTimestampMonotonic "cuda-nspawn@$trainer"
    cat "/run/cuda-nspawn/machines/$trainer/guest/epoch"
}

an_upgrade_replaces_the_daemon_and_its_workers_under_a_guest_that_computes() {
    local face pid old=()
    _have_machine
    _begin_computing "$trainer"
    systemctl start cuda-nspawn-expose.service cuda-nspawn-look.service
    face=$(_face)
    for unit in cuda-nspawnd cuda-nspawn-expose cuda-nspawn-look; do old+=("$(_pid_of $unit)"); done
    _apt install "$(_next_package)"
    for pid in "${old[@]}"; do [ ! -d "/proc/$pid" ] || fail "$(tr '\0' ' ' <"/proc/$pid/cmdline") runs still"; done
    same "cuda-nspawnd" "$(systemctl is-active cuda-nspawnd)" active
    same "restarts of cuda-nspawnd" "$(systemctl show --property=NRestarts --value cuda-nspawnd)" 0
    wait_until 20 property_is "$trainer" State attached
    is_attached "$trainer"
    same "$trainer" "$(_face)" "$face"
    _computes_undisturbed "$trainer"
    same "the door" "$(door "$trainer" "$(node_of 0)")" open
    _stop_computing "$trainer"
    same "warnings of the daemon" "$(journalctl --output=cat --priority=warning --since "$case_begin" --unit=cuda-nspawnd --identifier=cuda-nspawnd)" ""
}

an_upgrade_starts_no_daemon_that_the_admin_has_disabled() {
    _have_package
    systemctl --quiet disable --now cuda-nspawnd
    _apt install "$(_next_package)"
    same "cuda-nspawnd" "$(systemctl is-enabled cuda-nspawnd || :) $(systemctl is-active cuda-nspawnd || :)" "disabled inactive"
    systemctl --quiet enable --now cuda-nspawnd
}

the_version_before_and_the_same_again_disturb_no_guest_either() {
    local face
    _have_machine
    _apt install "$(_next_package)"
    wait_until 20 property_is "$trainer" State attached
    _begin_computing "$trainer"
    face=$(_face)
    _apt install --allow-downgrades "$(_package)"
    wait_until 20 property_is "$trainer" State attached
    _apt install --reinstall "$(_package)"
    wait_until 20 property_is "$trainer" State attached
    same "files that are not as packed" "$(dpkg --verify cuda-nspawn)" ""
    is_attached "$trainer"
    same "$trainer" "$(_face)" "$face"
    _computes_undisturbed "$trainer"
    _stop_computing "$trainer"
}
