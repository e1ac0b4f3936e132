# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What the suite main does not run: the release to come, with a newer systemd and glibc than any host of ours.

a_guest_of_debian_sid_works() {
    _make_guest sid
    _works
    _leaves_no_trace
}
