# shellcheck shell=bash disable=SC2154 # the parts of the bench share its variables
# Attach, detach and swap while 1, 10 and 100 machines run.

live=bench-live plain=bench-plain base=bench-base
live_count=0
layers=/run/bench-layers

# All machines are layers over one tree, since a copy each would fill the host's memory. systemd-nspawn would give every
# file of a layer to its users and copy it by that, so all have the same users, those of the tree below.
make_base() {
    lab-guest "$suite" $base
    settings_of $base
    boot $base
    end_machines $base
    mkdir -p $layers
    mount -t tmpfs -o size=50% bench-layers $layers    # not on an overlay, as the host's root may be
}

settings_of() { mkdir -p /etc/systemd/nspawn && printf '%s\n' '[Exec]' 'PrivateUsers=1073741824:65536' >"/etc/systemd/nspawn/$1.nspawn"; }

add_machine() {    # NAME
    mkdir -p "$layers/$1/upper" "$layers/$1/work" "/var/lib/machines/$1"
    mount -t overlay -o "lowerdir=/var/lib/machines/$base,upperdir=$layers/$1/upper,workdir=$layers/$1/work" overlay "/var/lib/machines/$1"
    chown --reference=/var/lib/machines/$base "/var/lib/machines/$1"
    settings_of "$1"
}

remove_machine() {    # NAME
    rm -f "$policies/$1.yaml" "/etc/systemd/nspawn/$1.nspawn"
    if mountpoint --quiet "/var/lib/machines/$1"; then umount "/var/lib/machines/$1"; fi
    rm -rf "/var/lib/machines/$1"
}

live_machines() { find /var/lib/machines -maxdepth 1 -name "$live-*" -printf '%f\n' | sort -V; }

clean_live() {
    local -a all
    mapfile -t all < <(live_machines)
    end_machines "${all[@]}" $plain
    for machine in "${all[@]}" $plain $base; do remove_machine "$machine"; done
    if mountpoint --quiet $layers; then umount $layers; fi
    live_count=0
}

has_passed() { [ "$(property "$1" Verdict)" = passed ]; }

# So many run, each with a GPU and a verdict.
grow_to() {    # COUNT
    local machine
    while [ $live_count -lt "$1" ]; do
        live_count=$((live_count + 1))
        machine=$live-$live_count
        add_machine "$machine"
        policy "$machine" 'gpus: [0]'
        systemctl start "systemd-nspawn@$machine"
    done
    for machine in $(live_machines); do wait_until 300 has_passed "$machine"; done
}

links_lead_to() {    # VERSION: the drivers of all machines
    local link
    for link in /run/cuda-nspawn/machines/"$live"-*/driver; do [[ $(readlink "$link") == */$1-* ]] || return; done
}

verdicts_are_younger() {    # MICROSECONDS
    local machine
    for machine in $(live_machines); do [ "$(property "$machine" LastSelfTest)" -gt "$1" ] || return; done
}

# From the word that the driver is another until every machine has it, and until every machine has a verdict of it.
time_swap() {    # VERSION
    local begin now
    "$simulated" --version "$1" "$BUILD_DIR/tests/simulated"
    begin=${EPOCHREALTIME/./}
    cuda-nspawnctl refresh
    until links_lead_to "$1"; do sleep 0.002; done
    now=${EPOCHREALTIME/./}
    echo $((now - begin)) >>"$samples/swap"
    until verdicts_are_younger "$begin"; do sleep 0.02; done
    echo $((${EPOCHREALTIME/./} - begin)) >>"$samples/swap-tested"
    begin=${EPOCHREALTIME/./}
    cp -a "/var/lib/cuda-nspawn/driver/$(property $live-1 Generation)" /var/lib/cuda-nspawn/.bench-copy
    sync -f /var/lib/cuda-nspawn
    note_time copy "$begin"
    rm -r /var/lib/cuda-nspawn/.bench-copy
}

measure_live() {
    local count attach allow detach deny round
    clean_live
    make_base
    add_machine $plain
    boot $plain
    for count in $machines; do
        grow_to "$count"
        read -r attach allow detach deny < <("$BUILD_DIR/tests/bench/latency" $live-1 $plain "$rounds")
        row "attach, until the node opens; $count running" "$(milliseconds "$attach")" ms "$(milliseconds "$allow")" 2 \
            'one SetUnitProperties and one mknod'
        row "detach, until it does not; $count running" "$(milliseconds "$detach")" ms "$(milliseconds "$deny")" '' \
            'one SetUnitProperties'
        if [ "${LAB_DRIVER:-simulated}" = simulated ]; then
            rm -f "$samples/swap" "$samples/swap-tested" "$samples/copy"
            for ((round = 0; round < 3; round++)); do time_swap "999.$((70 + round)).00"; done
            row "swap, until all have it; $count running" "$(median_of swap)" ms "$(median_of copy)" '' \
                'one copy of the driver, synced'
            row "swap, until all have a verdict; $count running" "$(median_of swap-tested)" ms 0 '' 'none'
        fi
    done
    at_rest "$live_count machines running"
    [ "${LAB_DRIVER:-simulated}" != simulated ] || { "$simulated" "$BUILD_DIR/tests/simulated" && cuda-nspawnctl refresh; }
    clean_live
}
