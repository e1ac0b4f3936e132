# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of tests/lab share its variables
# The lab's host: starting it, entering it, ending it.
#
# Its state is a directory under /run of its own per checkout:
#   lock     held by the one verb that changes something
#   owner    what we started: cgroup, the pid of unshare and its start time
#   init     written by the host's first process: its pid, and the file systems it made
#   ready    present when the host is up; says which driver and which archive
#   mnt/     where the host's file system is put together, in the host's own mount namespace only

unified_cgroups() {
    local path
    path=$(awk '{ for (i = 7; i <= NF; i++) if ($i == "-" && $(i + 1) == "cgroup2") { print $5; exit } }' /proc/self/mountinfo)
    [ -n "$path" ] || fail "this machine has no cgroup v2 hierarchy mounted"
    printf '%s' "$path"
}

start_time() {    # PID: when the process began, in ticks; with the pid it names a process for good
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # shellcheck disable=SC2086 # fields
    set -- ${stat##*) }
    printf '%s' "${20}"
}

state_value() {    # FILE KEY
    sed -n "s/^$2=//p" "$state/$1" 2>/dev/null
}

# The pid of the host's systemd if that still runs.
host_pid() {
    local pid owner
    owner=$(state_value owner pid)
    [ -n "$owner" ] && [ "$(state_value owner boot)" = "$boot_id" ] &&
        [ "$(start_time "$owner")" = "$(state_value owner start)" ] || return 1
    pid=$(state_value init pid)
    [ -n "$pid" ] && [ -d "/proc/$pid" ] || return 1
    printf '%s' "$pid"
}

host_is_up() { [ -e "$state/ready" ] && host_pid >/dev/null; }

driver_kind() { if [ -e /dev/nvidiactl ]; then echo real; else echo simulated; fi; }

# Starts the host and waits until it is up. What it started is noted before it is started, so that host_end finds it.
host_start() {
    local guests="" suite cgroup driver
    mkdir -p "$state/mnt" "$build_dir" "$cache/ccache"
    cgroup=$(unified_cgroups)/cuda-nspawn-lab.$id
    for suite in "${guest_suites[@]}"; do
        [ ! -d "$(root_of "guest-$suite")" ] || guests+=" $suite=$(root_of "guest-$suite")"
    done
    driver=$(driver_kind)
    printf 'cgroup=%s\nboot=%s\n' "$cgroup" "$boot_id" >"$state/owner"
    mkdir "$cgroup" || return 1
    (
        echo "$BASHPID" >"$cgroup/cgroup.procs"
        exec {lock_fd}>&-
        exec env LAB_STATE="$state" LAB_HOST="$(root_of "$host_kind")" LAB_GUESTS="$guests" LAB_SOURCE="$checkout" \
            LAB_BUILD="$build_dir" LAB_CCACHE="$cache/ccache" LAB_ROOTS="$cache/roots" LAB_D="$lab_d" LAB_DRIVER="$driver" \
            setsid unshare --mount --pid --fork --kill-child=KILL --uts --ipc --net --cgroup "$lab_d/boot"
    ) </dev/null &
    printf 'pid=%s\nstart=%s\n' $! "$(start_time $!)" >>"$state/owner"
    disown $!
    host_wait || return 1
    printf 'driver=%s\nfrom=%s\n' "$driver" "$pack" >"$state/ready"
}

host_wait() {
    local running tries=0
    until host_pid >/dev/null && inside test -S /run/systemd/private; do
        kill -0 "$(state_value owner pid)" 2>/dev/null ||
            { echo "the host's first process ended; with many labs on this machine fs.inotify.max_user_instances may be used up"; return 1; }
        [ $((tries++)) -lt 600 ] || { echo "no systemd after 30 s"; return 1; }
        sleep 0.05
    done
    running=$(inside timeout 90 systemctl is-system-running --wait) || true
    [ "$running" = running ] && return 0
    echo "the host is \"$running\", not \"running\":"
    inside systemctl --no-pager --failed
    inside systemctl --no-pager list-jobs
    inside journalctl --no-pager -p warning -n 60
    return 1
}

# Becomes a command in the host, as if logged in there as root: all its namespaces, its cgroups, nothing of our environment.
enter() {
    local pid leaf
    pid=$(host_pid) || { say "lab: the lab is not up; $0 up starts it"; exit 3; }
    # A leaf of its own, since a cgroup with controllers takes no processes; entered before the namespaces are.
    leaf=$(state_value owner cgroup)/lab.exec
    mkdir -p "$leaf"
    echo "$BASHPID" >"$leaf/cgroup.procs"
    [ -z "${lock_fd:-}" ] || exec {lock_fd}>&-
    exec nsenter --target "$pid" --all -- /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root \
        USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 TERM="${TERM:-dumb}" CCACHE_DIR=/ccache CCACHE_BASEDIR=/src \
        LAB_DRIVER="$(driver_kind)" LAB_DRIVER_ROOTS="$(driver_roots)" setpriv --pdeathsig TERM -- "$@"
}

inside() { (enter "$@"); }

# Ends the host and removes what is left of it. Nothing in it outlives its first process: processes, mounts and network
# live in namespaces that end with it. Left are its cgroups, and loop devices, which belong to the whole machine.
host_end() {
    local cgroup pid owner
    [ -e "$state/owner" ] || return 0
    cgroup=$(state_value owner cgroup)
    owner=$(state_value owner pid)
    if pid=$(host_pid); then kill -KILL "$pid" 2>/dev/null; fi
    if [ -d "$cgroup" ]; then
        # Who is in this group was put there by us.
        echo 1 2>/dev/null >"$cgroup/cgroup.kill" || xargs -r kill -KILL <"$cgroup/cgroup.procs" 2>/dev/null
        remove_cgroup "$cgroup" || { say "lab: $cgroup does not go away; in it: $(xargs <"$cgroup/cgroup.procs")"; return 1; }
    fi
    [ -z "$owner" ] || wait "$owner" 2>/dev/null || true
    detach_loops
    rm -rf --one-file-system "${state:?}"/{owner,init,init.new,ready,mnt}
}

# Another host of this checkout beside the first, in which nothing of ours is installed, for one command.
in_fresh_host() (    # COMMAND…
    become_fresh
    trap 'host_end; rmdir "$state"' EXIT
    trap 'exit 143' HUP INT TERM
    mkdir -p "$state"
    host_end && host_start && "$@"
)

# Several such hosts, named by numbers from 1, for a command in the first. In each, PREPARE gets its number.
beside_fresh_hosts() (    # HOW-MANY PREPARE COMMAND…
    local number pids=()
    trap end_fresh_hosts EXIT
    trap 'exit 143' HUP INT TERM
    for ((number = 1; number <= $1; number++)); do
        (
            become_fresh "$number"
            mkdir -p "$state"
            host_end && host_start && inside "$2" "$number"
        ) &
        pids+=($!)
    done
    for number in "${pids[@]}"; do wait "$number" || exit 1; done
    "${@:3}"
)

become_fresh() { id+=.fresh${1:-} state+=.fresh${1:-}; }    # [NUMBER]

# Also of a run that was killed.
end_fresh_hosts() {
    local place status=0
    for place in "$state".fresh*; do
        [ ! -d "$place" ] || (become_fresh "${place#"$state.fresh"}" && host_end && rmdir "$place") || status=1
    done
    return $status
}

remove_cgroup() {
    local tries=0
    while [ -d "$1" ]; do
        find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
        [ ! -d "$1" ] || { [ $((tries++)) -lt 200 ] || return 1; sleep 0.05; }
    done
}

detach_loops() {
    local name backing
    while read -r name backing; do
        if [ -n "$backing" ] && { [ "$backing" = "$(state_value init tmpfs)" ] || [ "$backing" = "$(state_value init overlay)" ]; }; then
            losetup --detach "$name"
        fi
    done < <(losetup --list --noheadings --raw --output NAME,BACK-MAJ:MIN 2>/dev/null)
}
