# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The sockets of NVIDIA's daemons on the host, for which a program that says its name stands here.

persistenced=/run/nvidia-persistenced

# Each time in a directory made anew, of a mode that opens for the host's root alone.
_daemon_starts() {    # NAME
    _daemon_ends
    printf '%s\n' '[Socket]' "ListenStream=$persistenced/socket" SocketMode=0755 Accept=yes >/run/systemd/system/lab-persistenced.socket
    printf '%s\n' '[Service]' "ExecStart=/bin/echo $1" StandardInput=socket >/run/systemd/system/lab-persistenced@.service
    systemctl daemon-reload
    systemctl start lab-persistenced.socket
}

_daemon_ends() {
    systemctl stop lab-persistenced.socket 2>/dev/null || :
    rm -rf "$persistenced" /run/systemd/system/lab-persistenced*
    systemctl daemon-reload
}

_hears() {
    in_guest "$guest" setpriv --reuid="$1" --clear-groups perl -MIO::Socket::UNIX \
        -e 'print readline(IO::Socket::UNIX->new(Peer => shift) or (print("no socket"), exit))' "/var$persistenced/socket" 2>&1 || :
}
_hears_nobody() { [ "$(_hears 0)" = "no socket" ]; }

a_machine_reaches_a_daemon_of_the_host_whenever_it_has_that_socket() {
    [ ! -e "$persistenced" ] || skip "wants a host without $persistenced"
    _make_guest
    [ -x "/var/lib/machines/$guest/usr/bin/perl" ] || skip "wants perl in the guest"
    policy "$guest" 'gpus: [0]' 'sockets: [persistenced]'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    wait_until 30 has_booted "$guest"
    same "what it hears of no daemon" "$(_hears 0)" ""
    _daemon_starts first
    same "what its root hears" "$(_hears 0)" first
    same "what another user hears" "$(_hears 1000)" first
    _daemon_starts second
    same "what it hears of the next one" "$(_hears 0)" second
    # While it runs.
    policy "$guest" 'gpus: [0]'
    wait_until 10 _hears_nobody
    policy "$guest" 'gpus: [0]' 'sockets: [persistenced, fabricmanager]'
    wait_until 10 _hears_again second
    systemctl stop "cuda-nspawn@$guest"
    wait_until 10 _hears_nobody
    _daemon_ends
    _leaves_no_trace
}

_hears_again() { [ "$(_hears 0)" = "$1" ]; }

a_socket_that_nobody_listens_on_is_told() {
    _make_guest
    systemctl stop cuda-nspawn-proxy@nvidia-fabricmanager.socket
    policy "$guest" 'gpus: [0]' 'sockets: [fabricmanager]'
    refused systemctl start "cuda-nspawn@$guest"
    tells "$guest" 'cuda-nspawn-proxy@nvidia-fabricmanager.socket does not listen: start it'
    systemctl start cuda-nspawn-proxy@nvidia-fabricmanager.socket
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    _leaves_no_trace
}
