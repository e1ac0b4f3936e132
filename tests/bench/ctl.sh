# shellcheck shell=bash disable=SC2154 # the parts of the bench share its variables
# cuda-nspawnctl beside what it is made of: one call of busctl with 1,000 machines, and the start of a program of systemd's.

ctl_count=1000

clean_ctl() { find "$policies" -name 'bench-ctl-*' -delete; }

timed_ctl() {    # NAME COMMAND…
    local begin=${EPOCHREALTIME/./}
    "${@:2}" >/dev/null
    note_time "$1" "$begin"
}

measure_ctl() {
    local i
    clean_ctl
    for ((i = 1; i <= ctl_count; i++)); do echo 'gpus: [0]' >"$policies/bench-ctl-$i.yaml"; done
    wait_until 60 knows $ctl_count
    wait_until 60 property_is bench-ctl-$ctl_count State ready
    for ((i = 0; i < rounds; i++)); do
        timed_ctl ctl-list cuda-nspawnctl list
        timed_ctl ctl-busctl busctl call "$bus" /org/cudanspawn1 org.freedesktop.DBus.ObjectManager GetManagedObjects
        timed_ctl ctl-version cuda-nspawnctl --version
        timed_ctl ctl-systemctl systemctl --version
    done
    row "cuda-nspawnctl list, 1,000 machines" "$(median_of ctl-list)" ms "$(median_of ctl-busctl)" 1.5 'busctl call … GetManagedObjects'
    row "cuda-nspawnctl --version" "$(median_of ctl-version)" ms "$(median_of ctl-systemctl)" 1.5 'systemctl --version'
    clean_ctl
    wait_until 60 knows 0
}
