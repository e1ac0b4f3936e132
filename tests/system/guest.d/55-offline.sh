# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# A machine that was killed and does not run: what is left of ours in its root file system is taken out of it.

# All but what a guest changes by itself when it runs, and the loader's cache.
_root_file_system() {
    (cd "/var/lib/machines/$guest" &&
        find . -xdev \( -path ./var -o -path ./run -o -path ./tmp \) -prune -o ! -name ld.so.cache \
            -printf '%p %y %m %U %G %s %l %T@\n' | sort)
}

_is_killed_with_its_gpu() {
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    wait_until 30 has_booted "$guest"
    kill_machine "$guest"
    wait_until 10 property_is "$guest" State ready
}

an_offline_detach_takes_out_what_a_killed_machine_left() {
    local before
    _make_guest
    boot "$guest"    # what a first boot makes is there
    end_machines "$guest"
    before=$(_root_file_system)
    _is_killed_with_its_gpu
    has "what is left" "$(_root_file_system)" 00-cuda-nspawn.conf ./usr/bin/nvidia-smi
    has "what was done" "$(cuda-nspawnctl detach --offline "$guest")" \
        'remove   /etc/ld.so.conf.d/00-cuda-nspawn.conf' 'remove   /usr/bin/nvidia-smi'
    diff <(echo "$before") <(_root_file_system)
    lacks "the loader's cache" "$(cat "/var/lib/machines/$guest/etc/ld.so.cache")" /run/cuda-nspawn
    has "a second time" "$(cuda-nspawnctl detach --offline "$guest")" 'nothing to change'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    has "of one that runs" "$(refused cuda-nspawnctl detach --offline "$guest" 2>&1)" "Machine \"$guest\" runs"
    _leaves_no_trace
}

an_offline_detach_of_a_raw_image_works() {
    local image=/var/lib/machines/$guest.raw
    _wants mkfs.ext4
    _make_image
    mv "/var/lib/machines/.$guest.raw" "$image"
    _is_killed_with_its_gpu
    has "what was done" "$(cuda-nspawnctl detach --offline "$guest")" 'remove   /usr/bin/nvidia-smi'
    same "what is left" "$(debugfs -R 'ls -p /etc/ld.so.conf.d' "$image" 2>/dev/null | grep -c nspawn)" 0
    _leaves_no_trace
}

an_offline_detach_bears_an_ldconfig_that_never_ends() {
    local ldconfig=/var/lib/machines/$guest/usr/sbin/ldconfig
    _make_guest
    _is_killed_with_its_gpu
    cp -a "$ldconfig" "$ldconfig.real"
    printf '%s\n' '#!/bin/sh' 'exec sleep 1000' >"$ldconfig"
    has "what is said" "$(refused cuda-nspawnctl detach --offline "$guest" 2>&1)" 'ldconfig took more than 30 s'
    mv "$ldconfig.real" "$ldconfig"
    cuda-nspawnctl detach --offline "$guest"
    lacks "the loader's cache" "$(cat "/var/lib/machines/$guest/etc/ld.so.cache")" /run/cuda-nspawn
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    _leaves_no_trace
}

an_offline_detach_without_image_or_ldconfig_is_refused() {
    _make_guest
    policy "$guest" 'gpus: [0]'
    wait_until 10 property_is "$guest" State ready
    rm "/var/lib/machines/$guest/usr/sbin/ldconfig"
    has "without ldconfig" "$(refused cuda-nspawnctl detach --offline "$guest" 2>&1)" 'has no ldconfig'
    rm -rf "/var/lib/machines/$guest"
    has "without image" "$(refused cuda-nspawnctl detach --offline "$guest" 2>&1)" 'there is no image of machine'
    _leaves_no_trace
}
