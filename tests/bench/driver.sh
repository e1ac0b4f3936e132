# shellcheck shell=bash disable=SC2154 # the parts of the bench share its variables
# NVIDIA's real files, as Debian installs them: finding them, copying them to the store. The module's side is this host's.

driver_copies=$BUILD_DIR/driver-copies    # on a disk, as a store is

clean_driver() { rm -rf "$driver_copies"; }

# Both end with everything on the disk; who goes first changes. What both read is in memory.
time_copying() {    # ROOT ROUND
    local begin way
    for way in $(if (($2 % 2)); then echo cp generation; else echo generation cp; fi); do
        rm -rf "$driver_copies"
        mkdir -p "$driver_copies/store" "$driver_copies/plain"
        sync
        begin=${EPOCHREALTIME/./}
        if [ "$way" = cp ]; then
            (cd "$1" && xargs cp --parents --target-directory "$driver_copies/plain") <"$samples/driver-files"
            sync --file-system "$driver_copies"
        else
            "$BUILD_DIR/tests/system/driver_files" build "$1" "$driver_copies/store" >/dev/null
        fi
        note_time "copying-$way" "$begin"
    done
}

measure_driver() {
    local word root='' round discovery floor files
    for word in ${LAB_DRIVER_ROOTS:-}; do [[ $word != 550=* ]] || root=${word#*=}; done
    if [ -z "$root" ]; then
        echo "driver: not measured: this lab has no packages of NVIDIA's driver" >&2
        return
    fi
    read -r discovery floor files < <("$BUILD_DIR/tests/bench/discovery" 101 "$root")
    row "discovery, driver 550 by Debian's packages" "$(milliseconds "$discovery")" ms "$(milliseconds "$floor")" '' "reading the same once ($files files)"
    "$BUILD_DIR/tests/system/driver_files" list "$root" 2>/dev/null | awk '{ print "." $4 }' | sort -u >"$samples/driver-files"
    for ((round = 0; round <= (rounds + 2) / 3; round++)); do
        time_copying "$root" "$round"
        [ "$round" -gt 0 ] || rm "$samples"/copying-*    # the first reads the files from the disk
    done
    row "copying it to the store ($(cd "$root" && xargs du -cm <"$samples/driver-files" | tail -n 1 | cut -f1) MiB)" \
        "$(median_of copying-generation)" ms "$(median_of copying-cp)" '' 'cp of the same files, and sync'
    clean_driver
}
