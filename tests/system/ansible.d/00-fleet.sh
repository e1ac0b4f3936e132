# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# Controllers, the hosts they work on, and what is asked of these.

all_machines=()
place=$BUILD_DIR/ansible
suite_d=/src/tests/system/ansible.d
hosts=(host-1 host-2 host-3)
machine=trainer
policy_file=$policies/$machine.yaml

# The hosts end with the suite; the lab's own is left alone.
_clean_host() { systemctl daemon-reload; }

_begin() {
    if [ ! -S "$place/host-3.socket" ]; then
        echo "ansible: there are no hosts to work on; tests/lab test ansible brings them" >&2
        return 1
    fi
    mkdir -p "$place/group_vars" "$place/host_vars"
}

_evidence() {
    local host
    for host in "${hosts[@]}"; do
        echo "--- $host"
        _on "$host" "cuda-nspawnctl status; journalctl --no-pager --lines=40 --since '$case_begin' -u 'cuda-nspawn*' -u 'systemd-nspawn@*'" 2>&1
    done
}

# --- controllers -----------------------------------------------------------------------------------------------------

_tree_of() { sed -nE "s/.*\\b$1=([^ ]+).*/\\1/p" <<<"${LAB_CONTROLLERS:-}"; }    # SUITE

# A command in a controller, of which nothing is kept. It has the network of the lab's host, which is none.
_controller() {    # SUITE COMMAND…
    local tree
    tree=$(_tree_of "$1")
    [ -d "$tree" ] || fail "there is no tree of a controller with $1" || return
    systemd-nspawn --quiet --directory="$tree" --volatile=overlay --machine="controller-$1" --register=no --pipe --as-pid2 \
        --resolv-conf=off --timezone=off --link-journal=no --bind="$place" --bind-ro=/src --bind-ro="$BUILD_DIR/deb" \
        --setenv=HOME=/root --setenv=LANG=C.UTF-8 --setenv=ANSIBLE_NOCOLOR=1 --setenv=ANSIBLE_PIPELINING=1 \
        --setenv=ANSIBLE_SSH_ARGS="-F $place/ssh_config -o ControlMaster=auto -o ControlPersist=60s" \
        --setenv=ANSIBLE_ROLES_PATH=/src/docs/ansible/roles --chdir=/src/docs/ansible -- "${@:2}"
}

# What it says goes on; that of one that fails to the case's log too.
_playbook() {    # SUITE ARGUMENT…
    local said status=0
    said=$(_controller "$1" ansible-playbook -i "$place/inventory.yml" "${@:2}" 2>&1) || status=$?
    printf '%s\n' "$said"
    [ "$status" -eq 0 ] || printf '%s\n' "$said" >&2
    return "$status"
}

_apply() { _playbook "$1" site.yml "${@:2}"; }    # SUITE ARGUMENT…

# --- variables -------------------------------------------------------------------------------------------------------

_fleet() { printf '%s\n' "$@" >"$place/group_vars/gpu_hosts.yml"; }    # LINE…: of all hosts
_only() { printf '%s\n' "${@:2}" >"$place/host_vars/$1.yml"; }         # HOST LINE…
_all_alike() { rm -f "$place"/host_vars/*; }

_usual_fleet() {
    _all_alike
    _fleet 'cuda_nspawn_machines: {trainer: {gpus: all, self_test: quick}}'
}

# --- what it says ----------------------------------------------------------------------------------------------------

# A host's numbers in the recap: changed=0 failed=1, say.
_recap() {    # HOST OUTPUT NUMBER…
    local line part
    line=$(grep -E "^$1 +: ok=" <<<"$2") || fail "no recap of $1:" "$2" || return
    for part in "${@:3}"; do
        [[ "$line " == *" $part "* ]] || fail "$1 has not $part: $line" "$2" || return
    done
}

_changed_nothing() {    # OUTPUT
    local host
    for host in "${hosts[@]}"; do _recap "$host" "$1" changed=0 failed=0 unreachable=0 || return; done
}

# --- the hosts -------------------------------------------------------------------------------------------------------

# A command, or with one argument a script.
_on() {    # HOST COMMAND…
    local host=$1
    shift
    [ $# -eq 1 ] || set -- "${*@Q}"
    ssh -F "$place/ssh_config" "$host" "$1" </dev/null
}

_property() {    # HOST NAME
    local answer
    answer=$(_on "$1" busctl get-property "$bus" "/org/cudanspawn1/machine/$machine" "$bus.Machine" "$2") || return
    answer=${answer#* }
    answer=${answer#\"}
    printf '%s' "${answer%\"}"
}

_each_is() {    # PROPERTY VALUE
    local host
    for host in "${hosts[@]}"; do same "$1 on $host" "$(_property "$host" "$1")" "$2" || return; done
}

# What of ours is on a host, to be compared with later.
_face() {    # HOST
    _on "$1" 'find /etc/cuda-nspawn /run/cuda-nspawn /etc/systemd /run/systemd/system /run/systemd/nspawn /usr/lib/cuda-nspawn \
        ! -path "*/units/*" ! -name "lab-ssh*" -printf "%p %l %s %T@\n" 2>/dev/null | sort
        machinectl --no-legend list
        systemctl show --property=DeviceAllow --value systemd-nspawn@trainer | sort
        busctl get-property org.cudanspawn1 /org/cudanspawn1/machine/trainer org.cudanspawn1.Machine LastSelfTest 2>/dev/null || :'
}

_faces() { local host; for host in "${hosts[@]}"; do _face "$host"; done; }
