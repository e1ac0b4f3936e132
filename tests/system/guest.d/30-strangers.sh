# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Guests that cannot run the driver.

a_guest_without_ldconfig_is_refused() {
    _make_guest
    rm "/var/lib/machines/$guest/usr/sbin/ldconfig"
    _is_refused 'has no ldconfig' 'libc-bin on Debian'
    _leaves_no_trace
}

# The loader says what the rest is built for; the third half-word after its identification (ELF, e_machine) does.
a_guest_for_another_processor_is_refused() {
    local loader
    _make_guest
    loader=/var/lib/machines/$guest$(readlink -m /lib64/ld-linux-x86-64.so.2)
    printf '\267\0' | dd of="$loader" bs=1 seek=18 conv=notrunc status=none    # EM_AARCH64
    _is_refused 'is built for another processor (aarch64)'
    _leaves_no_trace
}
