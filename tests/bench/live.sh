# shellcheck shell=bash disable=SC2154 # the parts of the bench share its variables
# Attach, detach and swap while 1, 10 and 100 machines run. Each has a tree of its own, of 100 MiB, in the host's memory.

live=bench-live plain=bench-plain
live_count=0

remove_machine() {    # NAME
    rm -f "$policies/$1.yaml"
    rm -rf "/var/lib/machines/$1"
}

live_machines() { find /var/lib/machines -maxdepth 1 -name "$live-*" -printf '%f\n' | sort -V; }

clean_live() {
    local -a all
    mapfile -t all < <(live_machines)
    end_machines "${all[@]}" $plain
    for machine in "${all[@]}" $plain; do remove_machine "$machine"; done
    live_count=0
}

has_passed() { [ "$(property "$1" Verdict)" = passed ]; }

# So many run, each with a GPU and a verdict.
grow_to() {    # COUNT
    local machine
    while [ $live_count -lt "$1" ]; do
        live_count=$((live_count + 1))
        machine=$live-$live_count
        lab-guest "$suite" "$machine"
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
    lab-guest "$suite" $plain
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
