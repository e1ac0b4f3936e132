# shellcheck shell=bash disable=SC2154 # the parts of the bench share its variables
# Attach, detach and swap while 1, 10 and 100 machines run. They share one /usr by hard links, on a tmpfs: there
# systemd-nspawn -U maps the owners of files (on an overlay, as the host's root may be, it would change them all), so a
# machine takes 5 MiB, and what one has read the next finds in memory.

live=bench-live plain=bench-plain
live_count=0
trees=/var/lib/machines
at_once=8    # machines that boot or end side by side
# A guest has about ten of them, and the kernel counts them all for the host's root; 128 if nobody has said more.
inotify_limit=/proc/sys/fs/inotify/max_user_instances
inotify_before=''

make_trees() {
    inotify_before=$(<$inotify_limit)
    [ "$inotify_before" -ge 4096 ] || echo 4096 >$inotify_limit
    mount -t tmpfs -o size=50%,mode=0700 bench-trees $trees
    systemctl restart cuda-nspawnd    # which watches the directory that was there
    cp -a "/usr/share/lab/guests/$suite" $trees/.base
}

make_machine() {    # NAME
    mkdir "$trees/.#$1"
    cp -al $trees/.base/usr "$trees/.#$1/"
    find $trees/.base -mindepth 1 -maxdepth 1 ! -name usr -exec cp -a -t "$trees/.#$1" {} +
    mv -T "$trees/.#$1" "$trees/$1"    # complete before it is seen
}

clean_live() {
    local -a all
    grep --quiet "^bench-trees $trees " /proc/mounts || return 0    # the lab has a mount of its own there
    mapfile -t all < <(find $trees -maxdepth 1 -name 'bench-*' -printf '%f\n')
    while [ ${#all[@]} -gt 0 ]; do
        end_machines "${all[@]:0:at_once}"
        all=("${all[@]:at_once}")
    done
    rm -f "$policies/$live"-*.yaml
    live_count=0
    [ -z "$inotify_before" ] || echo "$inotify_before" >$inotify_limit
    wait_until 10 umount $trees
}

# One property of all machines, a line each, in one call.
all_have() {    # PROPERTY
    busctl call "$bus" /org/cudanspawn1 org.freedesktop.DBus.ObjectManager GetManagedObjects |
        grep -oE "\"$1\" [st] (\"[^\"]*\"|[0-9]+)"
}
all_are_prepared() { [ "$(all_have State | grep -cE 'ready|attached')" -eq $live_count ]; }
all_have_passed() { [ "$(all_have Verdict | grep -c passed)" -eq $live_count ]; }

# So many run, each with a GPU and a verdict.
grow_to() {    # COUNT
    local -a units
    while [ $live_count -lt "$1" ]; do
        units=()
        while [ $live_count -lt "$1" ] && [ ${#units[@]} -lt $at_once ]; do
            live_count=$((live_count + 1))
            make_machine $live-$live_count
            policy $live-$live_count 'gpus: [0]'
            units+=("systemd-nspawn@$live-$live_count")
        done
        wait_until 60 all_are_prepared
        systemctl start "${units[@]}"
        wait_until 300 all_have_passed
    done
}

links_lead_to() {    # VERSION: the drivers of all machines
    [ "$(readlink /run/cuda-nspawn/machines/"$live"-*/driver | grep -c "/$1-")" -eq $live_count ]
}

verdicts_are_younger() {    # MICROSECONDS
    [ "$(all_have LastSelfTest | awk -v after="$1" '$3 > after' | wc -l)" -eq $live_count ]
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
    until verdicts_are_younger "$begin"; do sleep 0.05; done
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
    make_trees
    make_machine $plain
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
