# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# journalctl CUDA_NSPAWN_MACHINE=NAME tells what became of one machine, and with -x what to do.

# The daemon's events about a machine since the case began, in order.
_events_of() {    # MACHINE
    local id
    journalctl --sync
    for id in $(journalctl --output=cat --output-fields=MESSAGE_ID --since "$case_begin" --identifier=cuda-nspawnd CUDA_NSPAWN_MACHINE="$1"); do
        sed -nE "s/.*\"([a-z-]+)\", Severity::[a-z]+, \"$id\".*/\1/p" /src/daemon/engine/event.cpp
    done | xargs
}

_entry_of() {    # MACHINE EVENT: as journalctl -x shows the last one
    local id
    id=$(sed -nE "s/.*\"$2\", Severity::[a-z]+, \"([0-9a-f]+)\".*/\1/p" /src/daemon/engine/event.cpp)
    journalctl --catalog --output=short --lines=1 MESSAGE_ID="$id" CUDA_NSPAWN_MACHINE="$1"
}

the_journal_tells_a_machines_story() {
    _set_out
    end_machines "$thirteen"
    # Else lines of the second before would belong to this case.
    case_begin=$(date '+%Y-%m-%d %H:%M:%S.%6N')
    systemctl start "cuda-nspawn@$thirteen"
    same "events of a start" "$(_events_of "$thirteen")" \
        "job-begun machine-started attached self-test-passed job-done"
    case_begin=$(date '+%Y-%m-%d %H:%M:%S.%6N')
    systemctl stop "cuda-nspawn@$thirteen"
    wait_until 10 property_is "$thirteen" State detached
    same "events of a stop" "$(_events_of "$thirteen")" "job-begun rules-set exposure-removed detached job-done"
    case_begin=$(date '+%Y-%m-%d %H:%M:%S.%6N')
    policy "$thirteen" 'gpu: [0]'
    wait_until 10 property_has "$thirteen" PolicyErrors "$policies/$thirteen.yaml:1:1: "
    has "events of an edit" "$(_events_of "$thirteen")" policy-invalid
    policy "$thirteen" 'gpus: [0]'
    systemctl start "cuda-nspawn@$thirteen"
}

# What systemd says of the unit belongs to it.
the_units_own_lines_have_the_machines_field() {
    _set_out
    case_begin=$(date '+%Y-%m-%d %H:%M:%S.%6N')
    systemctl restart "cuda-nspawn@$thirteen"
    journalctl --sync
    has "the journal" "$(journalctl --output=cat --since "$case_begin" CUDA_NSPAWN_MACHINE="$thirteen" _PID=1)" \
        "NVIDIA GPUs for machine $thirteen"
}

each_event_is_explained_by_the_catalog() {
    local explained
    _set_out
    # With the fields filled in.
    explained=$(_entry_of "$thirteen" self-test-passed)
    has "journalctl -x" "$explained" "Subject: CUDA works in machine $thirteen" "Documentation: man:cuda-nspawn(7)" \
        "GPUs that it was given"
    lacks "journalctl -x" "$explained" "@CUDA"
    same "ids that journalctl --list-catalog has" "$(journalctl --list-catalog | grep -c 'cuda-nspawn:')" \
        "$(grep -c '^-- ' /src/units/cuda-nspawn.catalog)"
}
