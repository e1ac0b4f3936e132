# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The guest's package manager while the GPU is attached. It makes the loader's cache anew whenever a library comes or goes.

_make_package() {    # FILE: one with a library, as debhelper makes them
    local tree
    tree=$(mktemp -d)
    mkdir -p "$tree/DEBIAN" "$tree/usr/lib/x86_64-linux-gnu"
    gcc -shared -nostdlib -Wl,-soname,liblab.so.1 -x c /dev/null -o "$tree/usr/lib/x86_64-linux-gnu/liblab.so.1"
    printf '%s\n' 'Package: liblab1' 'Version: 1' 'Architecture: amd64' 'Maintainer: nobody <nobody@localhost>' 'Description: a library' \
        >"$tree/DEBIAN/control"
    echo 'activate-noawait ldconfig' >"$tree/DEBIAN/triggers"
    dpkg-deb --root-owner-group --build "$tree" "$1"
    rm -r "$tree"
}

_finds_library() { [[ $(in_guest "$guest" ldconfig -p) == *liblab.so.1* ]]; }

_finds_driver() {
    has "the guest's loader's cache" "$(in_guest "$guest" ldconfig -p)" 'libcuda.so.1 (libc6,x86-64) => /run/cuda-nspawn/driver/'
    sees_exactly "$guest" 0
    cuda-nspawnctl test "$guest"
    is_attached "$guest"
}

_apt() { in_guest "$guest" env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes "$@" 2>&1; }

_triggers_ldconfig() {    # APT-ARGUMENTS…
    local said
    said=$(_apt "$@") || fail "$said"
    has "apt-get $*" "$said" 'Processing triggers for libc-bin'
    lacks "apt-get $*" "$said" cuda-nspawn ldconfig:
}

_works_with_packages() {    # SUITE
    _make_guest "$1"
    [ -x "/var/lib/machines/$guest/usr/bin/apt-get" ] || skip "this lab's guests have no apt"
    _make_package "/var/lib/machines/$guest/root/liblab1.deb"
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    wait_until 30 has_booted "$guest"

    _triggers_ldconfig install /root/liblab1.deb
    _finds_library
    _finds_driver
    systemctl stop "cuda-nspawn@$guest"
    wait_until 10 _has_nothing_of_ours
    loader_cache_is_the_guests_own "$guest"
    _finds_library

    # Installed while there is no GPU, found with one; and the other way round.
    systemctl start "cuda-nspawn@$guest"
    _finds_library
    _triggers_ldconfig remove liblab1
    refused _finds_library
    _finds_driver
    systemctl stop "cuda-nspawn@$guest"
    wait_until 10 _has_nothing_of_ours
    loader_cache_is_the_guests_own "$guest"
    _triggers_ldconfig install /root/liblab1.deb
    systemctl start "cuda-nspawn@$guest"
    _finds_library
    _finds_driver
    _leaves_no_trace
}

packages_come_and_go_in_Debian_11_with_the_GPU_attached() { _works_with_packages bullseye; }
packages_come_and_go_in_Debian_13_with_the_GPU_attached() { _works_with_packages trixie; }
