# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Guests that have the driver's libraries themselves, of another version or as an empty file: the host's are loaded.

copied=535.183.01

# What a driver package of the guest's own leaves there; the copy is a library that works, so that nothing else fails.
_copies_libcuda_to() {    # DIRECTORY, as the guest sees it
    local directory=/var/lib/machines/$guest$1
    mkdir -p "$directory"
    cp "$(ldconfig -p | sed -nE 's/.*libcuda\.so\.1 .*=> (.*)/\1/p' | head -n 1)" "$directory/libcuda.so.$copied"
    ln -sf "libcuda.so.$copied" "$directory/libcuda.so.1"
}

_the_hosts_libcuda_wins_over() {    # PATH
    _works
    has Warnings "$(property "$guest" Warnings)" "has its own libcuda.so.1 ($copied) in ${1%/*}"
    has "the guest's loader" "$(in_guest "$guest" ldconfig -p)" "libcuda.so.1 (libc6,x86-64) => $1"
    _loads_the_hosts_libcuda
}

the_hosts_libcuda_wins_over_a_copy_in_the_standard_directory() {
    _make_guest
    _copies_libcuda_to /usr/lib/x86_64-linux-gnu
    _the_hosts_libcuda_wins_over /lib/x86_64-linux-gnu/libcuda.so.1
    _leaves_no_trace
}

the_hosts_libcuda_wins_over_a_copy_in_usr_local() {
    _make_guest
    _copies_libcuda_to /usr/local/lib
    _the_hosts_libcuda_wins_over /usr/local/lib/libcuda.so.1
    _leaves_no_trace
}

# As openSUSE's /etc/ld.so.conf does with /usr/local/lib.
the_hosts_libcuda_wins_over_a_copy_in_a_directory_that_is_named_before_all_fragments() {
    _make_guest
    _copies_libcuda_to /opt/before/lib
    sed -i '1i /opt/before/lib' "/var/lib/machines/$guest/etc/ld.so.conf"
    _the_hosts_libcuda_wins_over /opt/before/lib/libcuda.so.1
    _ldconfig_changes_nothing
    # What it finds then is the cache that it made itself.
    kill_machine "$guest"
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    wait_until 30 has_booted "$guest"
    _ldconfig_changes_nothing
    end_machines "$guest"
    lacks "the cache that the guest's own ldconfig made" "$(cat "/var/lib/machines/$guest/etc/ld.so.cache")" /run/cuda-nspawn
    _leaves_no_trace
}

# Packages run it, several of them one soon after the other.
_ldconfig_changes_nothing() {
    local pause
    for pause in 0.01 0.02 0.03 0.04; do
        in_guest "$guest" sh -c "ldconfig; sleep $pause; ldconfig"
        wait_until 10 _loads_the_hosts_libcuda
    done
}

_loads_the_hosts_libcuda() {
    [[ $(in_guest "$guest" ldconfig -p | grep -m 1 'libcuda\.so\.1 ') == */run/cuda-nspawn/driver/* ]]
}

the_hosts_libcuda_wins_over_an_empty_leftover() {
    local directory
    _make_guest
    for directory in /usr/lib/x86_64-linux-gnu /usr/local/lib; do
        mkdir -p "/var/lib/machines/$guest$directory"
        touch "/var/lib/machines/$guest$directory/libcuda.so.1"
    done
    _works
    has Warnings "$(property "$guest" Warnings)" "/usr/local/lib there is libcuda.so.1 of no bytes" \
        "/lib/x86_64-linux-gnu there is libcuda.so.1 of no bytes"
    _leaves_no_trace
}
