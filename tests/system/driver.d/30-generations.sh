# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What becomes of the generation in force when its copy is damaged, the disk is full, or the driver's files cannot be
# read, while a machine has it. Only with the simulated driver, which can be upgraded at will.

_generation_in_force() { busctl get-property "$bus" /org/cudanspawn1 "$bus.Manager" Generation | cut -d'"' -f2; }
_in_force_is() { [[ $(_generation_in_force) == "$1"-* ]]; }    # VERSION
_warns() { [[ $(busctl get-property "$bus" /org/cudanspawn1 "$bus.Manager" Warnings) == *"$1"* ]]; }
_warns_no_more() { ! _warns 'could not be copied to the store'; }
_was_told() { journalctl --output=cat --since "$case_begin" --unit=cuda-nspawnd | grep -F -- "$1"; }

# A machine that runs with the driver of this version, whatever the case before left.
_runs_with() {    # VERSION
    _simulated_only
    _driver --version "$1"
    [ -d "/var/lib/machines/$one" ] || _make "$(basename "$(find /usr/share/lab/guests -mindepth 1 -maxdepth 1 | sort | tail -n 1)")" "$one"
    policy "$one" 'gpus: [0]'
    systemctl start "cuda-nspawn@$one"
    wait_until 20 _in_force_is "$1"
    wait_until 20 property_has "$one" Generation "$1-"
    wait_until 20 is_attached "$one"
}

_still_has() {    # GENERATION
    is_attached "$one"
    same Generation "$(property "$one" Generation)" "$1"
    sees_exactly "$one" 0
}

a_generation_that_lacks_a_file_is_copied_again_at_a_refresh() {
    local generation
    _runs_with 999.42.01
    generation=$(_generation_in_force)
    rm "$store/$generation"/compute/lib/libcuda.so.*
    cuda-nspawnctl refresh
    wait_until 20 test -e "$store/$generation/compute/lib/libcuda.so.1"
    wait_until 20 property_is "$one" State attached
    _was_told "generation $generation is damaged in the store: it is copied again"
    _still_has "$generation"
}

a_damaged_byte_is_found_and_mended_when_it_is_asked_for() {
    local generation library size
    _runs_with 999.42.01
    generation=$(_generation_in_force)
    same "cuda-nspawnctl verify" "$(cuda-nspawnctl verify)" "$generation: intact"
    library=$(readlink -f "$store/$generation/compute/lib/libcuda.so.1")
    size=$(stat -c %s "$library")
    printf X | dd of="$library" bs=1 seek=$((size - 1)) conv=notrunc status=none
    has "cuda-nspawnctl verify" "$(cuda-nspawnctl verify)" "$generation: rebuilt: " "${library##*/} differs from /"
    same "cuda-nspawnctl verify" "$(cuda-nspawnctl verify)" "$generation: intact"
    _still_has "$generation"
}

a_damaged_copy_of_a_driver_that_is_gone_stays_and_is_named() {
    local generation library
    _runs_with 999.42.01
    generation=$(_generation_in_force)
    _driver --version 999.50.00 --kernel-version 999.42.01
    wait_until 10 _warns 'the driver files on the host are 999.50.00'
    has "cuda-nspawnctl verify" "$(cuda-nspawnctl verify)" "$generation: unknown: " 'cannot be compared'
    library=$(readlink -f "$store/$generation/compute/lib/libnvidia-opencl.so.1" || :)
    [ -e "$library" ] || library=$(readlink -f "$store/$generation/utility/bin/nvidia-smi")
    cp --preserve "$library" /tmp/kept
    truncate --size=10 "$library"
    has "cuda-nspawnctl verify" "$(refused cuda-nspawnctl verify)" "$generation: damaged: " 'it cannot be copied again'
    cp --preserve /tmp/kept "$library"
    _still_has "$generation"
}

a_daemon_that_starts_copies_a_half_built_generation_again() {
    local generation
    _runs_with 999.42.01
    generation=$(_generation_in_force)
    end_machines "$one"
    systemctl stop cuda-nspawnd
    rm "$store/$generation/manifest.json"
    mkdir -p "$store/.$generation.a1B2c3/compute"
    systemctl start cuda-nspawnd
    wait_until 20 test -e "$store/$generation/manifest.json"
    [ ! -e "$store/.$generation.a1B2c3" ]
    systemctl start "cuda-nspawn@$one"
    _still_has "$generation"
}

with_a_full_disk_the_old_generation_stays_in_force_and_the_reason_is_told() {
    local generation before
    _runs_with 999.42.01
    generation=$(_generation_in_force)
    # Machines bind the store when they start, so it is made small before.
    end_machines "$one"
    mount -t tmpfs -o size=16m,mode=755 tmpfs "$store"
    cuda-nspawnctl refresh
    wait_until 20 test -e "$store/$generation/manifest.json"
    _runs_with 999.42.01
    generation=$(_generation_in_force)
    dd if=/dev/zero of="$store/filler" bs=64k status=none || :
    _driver --version 999.50.00
    wait_until 20 _warns 'could not be copied to the store: '
    _warns 'No space left on device'
    _was_told 'No space left on device'
    has "cuda-nspawnctl status" "$(cuda-nspawnctl status)" 'No space left on device'
    same "the store" "$(find "$store" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | xargs)" "$generation filler"
    same Generation "$(_generation_in_force)" "$generation"
    wait_until 20 property_is "$one" State attached    # not while it is tried again
    before=$(property "$one" LastSelfTest)
    rm "$store/filler"
    cuda-nspawnctl refresh
    wait_until 20 _in_force_is 999.50.00
    wait_for_verdict "$one" "$before"
    _warns_no_more
    _the_disk_is_large_again
}

_the_disk_is_large_again() {
    end_machines "$one"
    mountpoint --quiet "$store" || return 0
    umount "$store"
    systemctl restart cuda-nspawnd
}

# By a daemon without privileges: a file of somebody else's. What a broken disk does is the same to it.
a_file_that_cannot_be_read_leaves_the_old_generation_in_force() {
    local generation library
    _the_disk_is_large_again    # should the case before have failed
    _runs_with 999.42.01
    generation=$(_generation_in_force)
    library=$(readlink -f /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1)
    chown nobody "$library"
    chmod 600 "$library"
    cuda-nspawnctl refresh
    wait_until 10 _warns "$library: it cannot be opened (Permission denied)"
    has "cuda-nspawnctl status" "$(cuda-nspawnctl status)" 'could not be copied to the store'
    wait_until 10 property_is "$one" State attached
    _still_has "$generation"
    chown root "$library"
    chmod 644 "$library"
    cuda-nspawnctl refresh
    wait_until 10 _warns_no_more
    _still_has "$generation"
}

# Machines that run keep what they have; only what nobody has any more goes.
a_generation_goes_with_its_last_user() {
    local generation
    _runs_with 999.42.01
    generation=$(_generation_in_force)
    _driver --version 999.50.00
    wait_until 20 _in_force_is 999.50.00
    wait_until 20 property_has "$one" Generation 999.50.00-
    wait_until 20 test ! -e "$store/$generation"
    [ -e "$store/$(_generation_in_force)/manifest.json" ]
}
