# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# The machines of the suite, its users, and what it compares before and after.

trainer=trainer
second=second                         # has a policy and no image
all_machines=("$trainer" "$second")
interfaces=/usr/share/dbus-1/interfaces/org.cudanspawn1.xml
rules=/etc/polkit-1/rules.d/50-api-suite.rules
manager=$bus.Manager

# A user of whom polkit's rule below speaks, and one of whom it does not.
operator=(setpriv --reuid=games --regid=games --clear-groups --)
nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups --)

_need_python() { command -v python3 >/dev/null || skip "wants python3"; }

_trainer() {
    _without_rules
    if [ -L /run/systemd/system/polkit.service ]; then systemctl --quiet unmask --runtime polkit; fi
    [ -d "/var/lib/machines/$trainer" ] || _make trixie "$trainer"
    policy "$trainer" 'gpus: [0]'
    policy "$second" 'gpus: all'
    wait_until 20 property_is "$second" Policy "$policies/$second.yaml"
    cuda-nspawnctl attach "$trainer"
    wait_until 20 property_is "$trainer" State "$(if is_running "$trainer"; then echo attached; else echo ready; fi)"
}

_running_trainer() {
    _trainer
    systemctl start "cuda-nspawn@$trainer"
    is_attached "$trainer"
}

_without_rules() { rm -f "$rules"; }

# polkit reads it in its own time.
_rule() {
    mkdir -p "${rules%/*}"
    cat >"$rules.new"
    mv "$rules.new" "$rules"
}

_call() { busctl --timeout=120 call "$bus" /org/cudanspawn1 "$manager" "$@"; }
_try() { refused "$@" 2>&1; }

_daemon() { systemctl show --property=MainPID --value cuda-nspawnd; }
_resident_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/$(_daemon)/status"; }

# What the admin wrote and what machines are offered. The daemon's own work and memory come and go.
_files() {
    find "$policies" -type f -exec sha256sum {} +
    find /run/cuda-nspawn -path /run/cuda-nspawn/work -prune -o -path /run/cuda-nspawn/state -prune -o -type d -print \
        -o ! -name epoch -printf '%p %y %m %U:%G %l %s\n' | sort
}
