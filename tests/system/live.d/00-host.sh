# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# The machines of the suite, and what computes in them.

by_unit=by-unit            # Debian 13, systemctl start
by_machinectl=by-ctl       # Debian 11, machinectl start
by_hand=by-hand            # Debian 12, or 13 where that is not there, systemd-nspawn from a shell
of_by_hand=trixie
[ ! -d /usr/share/lab/guests/bookworm ] || of_by_hand=bookworm
all_machines=("$by_unit" "$by_machinectl" "$by_hand" down12 copy-of renamed imported host-users host-users-by-hand)
rounds=${ROUNDS:-1}

_make_live() {    # SUITE MACHINE: with a program that computes
    _make "$1" "$2"
    install -m 755 "$BUILD_DIR/tests/system/compute" "/var/lib/machines/$2/usr/local/bin/compute"
    # It needs a GPU at boot, which these do not have yet.
    rm "/var/lib/machines/$2/etc/systemd/system/basic.target.wants/early-cuda.service"
}

_start_by_hand() {    # MACHINE [OPTION]
    setsid systemd-nspawn --quiet --directory="/var/lib/machines/$1" --machine="$1" --boot "${2:--U}" </dev/null >/dev/null 2>&1 &
    wait_until 30 has_booted "$1"
}

# The three machines run, have a GPU and a verdict; where the first case of a piece begins.
_all_are_attached() {
    local machine
    [ -d "/var/lib/machines/$by_unit" ] || _make_live trixie "$by_unit"
    [ -d "/var/lib/machines/$by_machinectl" ] || _make_live bullseye "$by_machinectl"
    [ -d "/var/lib/machines/$by_hand" ] || _make_live "$of_by_hand" "$by_hand"
    for machine in "$by_unit" "$by_machinectl"; do is_running "$machine" || boot "$machine"; done
    machinectl show "$by_hand" >/dev/null 2>&1 </dev/null || _start_by_hand "$by_hand"
    for machine in "$by_unit" "$by_machinectl" "$by_hand"; do
        policy "$machine" 'gpus: [0]'
        wait_until 10 _is_known "$machine"
        cuda-nspawnctl attach --test "$machine" >/dev/null
        wait_until 10 systemctl --quiet is-active "cuda-nspawn@$machine"
        is_attached "$machine"
        sees_exactly "$machine" 0
    done
}

_is_known() { object_of "$1"; }

# --- a program that computes ----------------------------------------------------------------------------------------

_begin_computing() {    # MACHINE
    in_guest "$1" sh -c 'systemctl stop compute; systemctl reset-failed compute; rm -f /run/compute.log' 2>/dev/null || :
    systemd-run --machine="$1" --quiet --unit=compute --property=StandardOutput=file:/run/compute.log compute </dev/null
    wait_until 20 _has_computed "$1" 50
}

# Read from outside, since it is read very often.
_log_of() { cat "/proc/$(leader_of "$1")/root/run/compute.log"; }
_has_computed() { _log_of "$1" | grep "^round $2: right" >/dev/null; }    # MACHINE ROUND
_rounds_of() { _log_of "$1" | sed -n 's/^round \([0-9]*\): right$/\1/p' | tail -n 1; }
_has_gone_on() { [ "$(_rounds_of "$1")" -gt "$2" ]; }    # MACHINE ROUND

# It is one process, which never began anew, every result was right, and it gets on.
_computes_undisturbed() {    # MACHINE
    local round
    round=$(_rounds_of "$1")
    wait_until 10 _has_gone_on "$1" "$round"
    same "$1: what compute said besides" "$(_log_of "$1" | sed 1d | grep -v ': right$')" ""
}

_stop_computing() { in_guest "$1" systemctl stop compute; }

_daemon_pid() { systemctl show --property=MainPID --value cuda-nspawnd; }

# --- what is there ---------------------------------------------------------------------------------------------------

_control_file() { printf '/run/systemd/system.control/%s.d/50-DeviceAllow.conf' "$(unit_of "$1")"; }

# Everything of ours on the host, by name: what a killed process could have left half made is among it.
_belongings() {
    find /run/cuda-nspawn/machines /run/cuda-nspawn/settings /run/systemd/nspawn /run/systemd/system \
        -mindepth 1 ! -path '*/.inside*' ! -path '*/guest/epoch' \( -path '*cuda-nspawn*' -o -path '*nspawn/*' \) -printf '%p %y %m %l\n' | sort
    find /sys/fs/cgroup -type d -name 'cuda-nspawn-worker*'
    grep -c cuda-nspawn /proc/self/mountinfo
} 2>/dev/null

# Which generation it is does not matter.
_belongs_as_in() { diff <(sed -E 's,/[0-9.]+-[0-9a-f]{16}$,/generation,' "$1") <(_belongings | sed -E 's,/[0-9.]+-[0-9a-f]{16}$,/generation,'); }    # FILE
