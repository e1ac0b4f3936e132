# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Images that cannot run the driver, before anything is started.

_is_image() {    # CODE PART…
    policy "$guest" 'gpus: [0]'
    _finds "$@"
    _start_fails_with "$1"
    rm -r "${root:?}" "$policies/$guest.yaml"
    wait_until 10 _knows_no_machine
}

_no_root() {
    if [ -d "$root" ]; then
        end_machines "$guest"
        rm -r "$root"
    fi
}

# Only what a look tells it by.
_layout() {    # PATH…: a directory ends with a slash
    local path
    _no_root
    for path; do
        mkdir -p "$root/${path%/*}"
        case $path in
            */) ;;
            */os-release) printf 'ID=strange\nPRETTY_NAME="Strange Linux"\n' >"$root/$path" ;;
            *) cp /bin/true "$root/$path" ;;
        esac
    done
}

no_image() {
    _no_root
    policy "$guest" 'gpus: [0]'
    _finds no-image "/var/lib/machines/$guest: not there"
    _make trixie "$guest"
    wait_until 10 _is_well
    _discharged
}

an_empty_image() {
    _layout empty/
    _is_image guest-empty "No operating system was found"
}

a_guest_with_musl() {
    _layout etc/os-release usr/lib/systemd/systemd lib/ld-musl-x86_64.so.1
    _is_image guest-musl "Strange Linux" "uses musl"
}

a_guest_without_a_libc() {
    _layout etc/os-release usr/lib/systemd/systemd
    _is_image guest-no-glibc "has no glibc where programs look for it"
}

a_guest_for_another_processor() {
    _layout etc/os-release usr/lib/systemd/systemd lib/ld-linux-aarch64.so.1 sbin/ldconfig
    printf '\267' | dd of="$root/lib/ld-linux-aarch64.so.1" bs=1 seek=18 conv=notrunc status=none
    _is_image guest-other-architecture aarch64
}

a_guest_without_ldconfig() {
    _no_root
    _make trixie "$guest"
    rm "$root/usr/sbin/ldconfig"
    _is_image guest-no-ldconfig libc-bin
}

a_guest_of_nixos() {
    _layout etc/os-release usr/lib/systemd/systemd lib64/ld-linux-x86-64.so.2
    sed -i 's/^ID=.*/ID=nixos/' "$root/etc/os-release"
    _is_image guest-nixos /nix/store
}

a_guest_with_an_old_glibc() {
    _layout etc/os-release usr/lib/systemd/systemd lib64/ld-linux-x86-64.so.2 lib64/libc.so.6 sbin/ldconfig
    printf '\0GNU C Library stable release version 2.12, by Roland McGrath et al.\n' >>"$root/lib64/libc.so.6"
    _is_image guest-glibc-too-old "glibc 2.12"
}
