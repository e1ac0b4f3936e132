# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The device rules in force are always the template's, the admin's and the policy's, whatever came in which order.

_policy_rules() {    # GPU-INDEX…
    local index
    for index; do echo "/dev/char/$(node_of "$index") rw"; done
    echo "/dev/char/$(major_of nvidiactl):255 rw"
    echo "/dev/char/$(major_of nvidia-uvm):0 rw"
    echo "/dev/char/$(major_of nvidia-uvm):1 rw"
}

_template_rules() { systemctl show --property=DeviceAllow --value systemd-nspawn@no-such-machine.service; }

_rules_are() {    # WHEN RULE…: by what systemd shows
    local when=$1
    shift
    same "$when" "$(device_rules "$by_unit")" "$({ _template_rules; [ $# -eq 0 ] || printf '%s\n' "$@"; } | sort -u)"
}

# In the kernel, which systemd does not show.
_in_force() {    # MAJOR:MINOR open|closed …
    while [ $# -gt 0 ]; do
        same "the door for $1" "$(door "$by_unit" "$1")" "$2"
        shift 2
    done
}

full=1:7 random=1:8      # of the admin: /dev/full by set-property, /dev/random by a drop-in

the_admins_set_property_and_drop_in_stay_through_attach_detach_stop_and_start() {
    local mine=/etc/systemd/system/systemd-nspawn@$by_unit.service.d
    _all_are_attached
    # shellcheck disable=SC2046 # a rule has a space
    mapfile -t ours < <(_policy_rules 0)
    systemctl stop "cuda-nspawn@$by_unit"
    _rules_are "detached"
    systemctl set-property --runtime "$(unit_of "$by_unit")" DeviceAllow="/dev/char/$full r"
    systemctl start "cuda-nspawn@$by_unit"
    _rules_are "attached, after a set-property" "/dev/char/$full r" "${ours[@]}"
    systemctl stop "cuda-nspawn@$by_unit"
    _rules_are "detached, after a set-property" "/dev/char/$full r"
    _in_force "$(node_of 0)" closed
    mkdir -p "$mine"
    printf '%s\n' '[Service]' "DeviceAllow=/dev/char/$random r" >"$mine/mine.conf"
    systemctl daemon-reload
    systemctl start "cuda-nspawn@$by_unit"
    _rules_are "attached, after a drop-in" "/dev/char/$full r" "/dev/char/$random r" "${ours[@]}"
    _in_force "$(node_of 0)" open
    end_machines "$by_unit"
    wait_until 10 property_is "$by_unit" State ready
    systemctl start "$(unit_of "$by_unit")"
    wait_for_verdict "$by_unit" 0
    _rules_are "after stop and start" "/dev/char/$full r" "/dev/char/$random r" "${ours[@]}"
    systemctl restart "$(unit_of "$by_unit")"
    wait_until 30 has_booted "$by_unit"
    wait_until 20 property_is "$by_unit" State attached
    systemctl stop "cuda-nspawn@$by_unit"
    _rules_are "detached after a restart" "/dev/char/$full r" "/dev/char/$random r"
    _in_force "$(node_of 0)" closed
}

a_policy_that_goes_leaves_the_admins_rules_alone() {
    rm "$policies/$by_unit.yaml"
    end_machines "$by_unit"
    wait_until 10 _has_no_rules_by_number "$by_unit"
    _rules_are "without a policy" "/dev/char/$full r" "/dev/char/$random r"
    has "the admin's set-property" "$(cat "$(_control_file "$by_unit")")" "DeviceAllow=/dev/char/$full r"
    systemctl revert "$(unit_of "$by_unit")" 2>/dev/null
    rm -rf "/etc/systemd/system/systemd-nspawn@$by_unit.service.d" "$(dirname "$(_control_file "$by_unit")")"
    systemctl daemon-reload
    _rules_are "reverted"
}

_has_no_rules_by_number() { ! device_rules "$1" | grep -q "/dev/char/$(node_of 0) "; }

a_set_property_that_came_after_us_loses_only_what_was_ours() {
    policy "$by_unit" 'gpus: [0]'
    systemctl start "cuda-nspawn@$by_unit"
    is_attached "$by_unit"
    systemctl stop "cuda-nspawn@$by_unit"
    systemctl start "cuda-nspawn@$by_unit"
    systemctl set-property --runtime "$(unit_of "$by_unit")" DeviceAllow="/dev/char/$full r"
    end_machines "$by_unit"
    wait_until 10 property_is "$by_unit" State ready
    has "the admin's set-property" "$(cat "$(_control_file "$by_unit")")" "DeviceAllow=/dev/char/$full r"
    lacks "the admin's set-property" "$(cat "$(_control_file "$by_unit")")" "/dev/char/$(node_of 0)"
    rm -r "$(dirname "$(_control_file "$by_unit")")"
    systemctl daemon-reload
}

an_admins_drop_in_that_resets_the_rules_does_not_close_the_door() {
    local mine=/etc/systemd/system/systemd-nspawn@$by_unit.service.d
    mkdir -p "$mine"
    printf '%s\n' '[Service]' 'DeviceAllow=' 'DeviceAllow=char-pts rw' >"$mine/90-mine.conf"
    systemctl daemon-reload
    systemctl start "cuda-nspawn@$by_unit"
    is_attached "$by_unit"
    _in_force "$(node_of 0)" open
    rm -r "$mine"
    systemctl daemon-reload
    end_machines "$by_unit"
    wait_until 10 property_is "$by_unit" State ready
    same "what systemd wrote" "$(find "$(_control_file "$by_unit")" 2>/dev/null)" ""
}
