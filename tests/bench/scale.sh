# shellcheck shell=bash disable=SC2154 # the parts of the bench share its variables
# 1,000 policies without guests.

count=1000

clean_scale() { find "$policies" -name 'bench-scale-*' -delete; }

knows() { [ "$(busctl call "$bus" /org/cudanspawn1 "$bus.Manager" ListMachines | awk '{ print $2 }')" = "$1" ]; }
exposed_to() { grep -q "/dev/char/$(node_of "$2")" "/run/systemd/system/systemd-nspawn@$1.service.d/50-cuda-nspawn.conf"; }

# Nanoseconds of processor time that the daemon and the worker which writes for it have had.
own_time() {
    local pid
    for pid in "$(daemon_pid)" "$(systemctl show --property=MainPID --value cuda-nspawn-expose.service)" \
        "$(systemctl show --property=MainPID --value cuda-nspawn-look.service)"; do
        cat "/proc/$pid/schedstat" 2>/dev/null
    done | awk '{ sum += $1 } END { print int(sum / 1000) }'
}

measure_scale() {
    local i begin before
    clean_scale
    wait_until 60 knows 0
    systemctl stop cuda-nspawnd
    for ((i = 1; i <= count; i++)); do echo 'gpus: [0]' >"$policies/bench-scale-$i.yaml"; done
    begin=${EPOCHREALTIME/./}
    systemctl start cuda-nspawnd
    note_time converge "$begin"
    exposed_to bench-scale-$count 0
    begin=${EPOCHREALTIME/./}
    systemctl daemon-reload
    note_time reload "$begin"
    row "1,000 policies, from nothing to ready" "$(median_of converge)" ms \
        "$(awk "BEGIN { print 1000 + $(median_of reload) }")" 1 "a second and one daemon-reload ($(median_of reload) ms)"
    for ((i = 1; i <= rounds; i++)); do
        before=$(own_time)
        policy bench-scale-500 "gpus: [$((i % 2 ? other_gpu : 0))]"
        wait_until 10 exposed_to bench-scale-500 $((i % 2 ? other_gpu : 0))
        wait_until 10 property_is bench-scale-500 State ready
        echo $(($(own_time) - before)) >>"$samples/edit"
    done
    row '... one of them edited: processor time of ours' "$(median_of edit)" ms 10 1 'the budget'
    at_rest '1,000 policies'
    clean_scale
    wait_until 60 knows 0
}
