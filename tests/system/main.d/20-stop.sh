# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Taking the GPU from a running machine and giving it back; what is left in the guest: nothing.

stop_takes_the_GPU_and_leaves_the_machine_running() {
    local leader
    leader=$(leader_of "$thirteen")
    systemctl stop "cuda-nspawn@$thirteen"
    same "the unit" "$(systemctl is-active "cuda-nspawn@$thirteen")" inactive
    same "the machine's first process" "$(leader_of "$thirteen")" "$leader"
    same State "$(property "$thirteen" State)" detached
    same Verdict "$(property "$thirteen" Verdict)" none
    same "nodes lent" "$(find "/run/cuda-nspawn/machines/$thirteen/dev" -type c)" ""
    wait_until 10 _has_no_nodes "$thirteen"
    same "the door" "$(door "$thirteen" "$(node_of 0)")" closed
    has_no_rules_of_ours "$thirteen"
    refused in_guest "$thirteen" nvidia-smi -L
}

_has_no_nodes() { [ -z "$(in_guest "$1" find /dev -name 'nvidia*')" ]; }

a_detached_machine_stays_so_after_a_daemon_reload() {
    systemctl daemon-reload
    has_no_rules_of_ours "$thirteen"
    same "the door" "$(door "$thirteen" "$(node_of 0)")" closed
    same State "$(property "$thirteen" State)" detached
}

a_self_test_of_a_detached_machine_is_refused() {
    has "the answer" "$(refused cuda-nspawnctl test "$thirteen" 2>&1)" "\"$thirteen\" is detached" "systemctl start cuda-nspawn@$thirteen"
}

start_gives_the_GPU_back_to_the_running_machine() {
    local leader
    leader=$(leader_of "$thirteen")
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
    same "the machine's first process" "$(leader_of "$thirteen")" "$leader"
    same "the door" "$(door "$thirteen" "$(node_of 0)")" open
    sees_exactly "$thirteen" 0
    systemctl daemon-reload
    same "the door after a daemon-reload" "$(door "$thirteen" "$(node_of 0)")" open
}

reload_tests_again() {
    local before leader
    before=$(property "$thirteen" LastSelfTest)
    leader=$(leader_of "$thirteen")
    systemctl reload "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
    [ "$(property "$thirteen" LastSelfTest)" -gt "$before" ]
    same "the machine's first process" "$(leader_of "$thirteen")" "$leader"
}

reload_mends_what_somebody_changed() {
    rm "/run/cuda-nspawn/machines/$thirteen/dev/nvidiactl" "/run/cuda-nspawn/machines/$thirteen/driver"
    systemctl set-property --runtime "$(unit_of "$thirteen")" DeviceAllow= DeviceAllow='/dev/fuse rwm'
    same "the door" "$(door "$thirteen" "$(node_of 0)")" closed
    systemctl reload "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
    same "the door" "$(door "$thirteen" "$(node_of 0)")" open
    sees_exactly "$thirteen" 0
}

stop_and_start_in_quick_succession_end_as_asked_last() {
    for _ in 1 2 3 4; do
        systemctl stop --no-block "cuda-nspawn@$thirteen"
        systemctl start --no-block "cuda-nspawn@$thirteen"
    done
    systemctl start "cuda-nspawn@$thirteen"
    is_attached "$thirteen"
    sees_exactly "$thirteen" 0
    same "the door" "$(door "$thirteen" "$(node_of 0)")" open
}

# --- the guest's root file system ------------------------------------------------------------------------------------

# One or two lines per file, the path first. Directories' sizes say nothing, nor does the time of the loader's cache.
_manifest() {    # MACHINE
    local root=/var/lib/machines/$1
    {
        find "$root" -xdev -path "$root/etc/ld.so.cache" -prune -o -printf '%P\tis %y %m %U:%G %T@ %l\n'
        (cd "$root" && find . -xdev -type f -print0 | xargs -0 sha256sum) | sed -E 's,^\\?([0-9a-f]+)  \./(.*),\2\tholds \1,'
    } | sed -E 's,(systemd-private-)[^/\t]*,\1…,' | sort
}

_changed_paths() { comm -3 "$1" "$2" | sed -E 's,^\t,,; s,\t.*,,' | sort -u; }    # MANIFEST MANIFEST

# What the machine changes by itself, from the first boot on, is found by a control: boots without us.
_root_file_system_stays() {    # SUITE MACHINE
    local machine=$2 at control
    at=$(mktemp -d)
    lab-guest "$1" "$machine"
    boot "$machine"
    # The cache that it came with may name what is not there.
    in_guest "$machine" sh -c 'ldconfig -X && rm -rf /var/cache/ldconfig'
    end_machines "$machine"
    _manifest "$machine" >"$at/control-down"
    boot "$machine"
    _manifest "$machine" >"$at/control-up"
    end_machines "$machine"
    _manifest "$machine" >"$at/control-down-again"
    control=$({ _changed_paths "$at/control-down" "$at/control-up"
        _changed_paths "$at/control-up" "$at/control-down-again"; } | sort -u)

    policy "$machine" 'gpus: all'
    systemctl start "cuda-nspawn@$machine"
    wait_until 30 has_booted "$machine"
    _manifest "$machine" >"$at/attached"
    has "what differs while attached" "$(_changed_paths "$at/control-up" "$at/attached")" \
        etc/ld.so.conf.d/00-cuda-nspawn.conf usr/bin/nvidia-smi
    systemctl stop "cuda-nspawn@$machine"
    wait_until 10 _has_no_nodes "$machine"
    _manifest "$machine" >"$at/detached"
    same "what differs after stop" "$(comm -23 <(_changed_paths "$at/control-up" "$at/detached") <(echo "$control"))" ""
    _loader_cache_is_the_guests_own "$machine"
    # The check itself may have made a file.
    _manifest "$machine" >"$at/control-up"

    systemctl start "cuda-nspawn@$machine"
    is_attached "$machine"
    end_machines "$machine"
    _manifest "$machine" >"$at/down"
    same "what differs after the end" "$(comm -23 <(_changed_paths "$at/control-down-again" "$at/down") <({ echo "$control"
        _changed_paths "$at/detached" "$at/control-up"; } | sort -u))" ""
    rm -r "$at" "$policies/$machine.yaml" "/var/lib/machines/$machine"
}

_loader_cache_is_the_guests_own() {    # MACHINE
    in_guest "$1" ldconfig -X -C /run/ld.so.cache
    in_guest "$1" cmp /run/ld.so.cache /etc/ld.so.cache
}

the_root_file_system_of_debian_13_is_left_as_it_was() { _root_file_system_stays trixie clean13; }
the_root_file_system_of_debian_11_is_left_as_it_was() { _root_file_system_stays bullseye clean11; }
