# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of tests/lab share its variables
# What the lab says about itself.

help() {
    cat <<END
usage: tests/lab VERB [ARGUMENTS]

Makes a Debian 13 host with its own systemd in namespaces on this machine, with Debian 11, 12, 13 and sid guests, and
builds, runs and tests cuda-nspawn in it. A real NVIDIA driver is used where the machine has one, else a simulated one.

  demo      the main job, from start to verdict, on two guests of different distributions
  test      the suites; all of them, or those named
  soak      many rounds of what kills, swaps and restarts
  bench     the measurements
  up        starts the lab, with the project built and installed
  down      ends the lab
  status    says what runs
  exec      runs a command in the lab's host
  shell     a shell in the lab's host
  build     builds and installs, in the lab that is up or in one for the purpose
  deb       makes the Debian package
  pack      writes an archive that runs on a machine without a mirror
  clean     removes what this checkout has built

Each has --help. Needs root, x86-64, and for the first run Debian's mirror as this machine's apt knows it.
Every checkout has a lab of its own; they share Debian trees and compiler cache below
$cache (change it by CUDA_NSPAWN_LAB_CACHE).
END
}

help_of() {
    case $1 in
        demo) cat <<'END' ;;
usage: tests/lab demo [--keep] [--from ARCHIVE]
Gives two guests of different distributions their GPUs, by one command each, and shows the verdicts.
  --keep            leaves the lab up afterwards
  --from ARCHIVE    runs what `tests/lab pack` wrote, without building anything
END
        test) cat <<'END' ;;
usage: tests/lab test [--from ARCHIVE] [SUITE…]
Runs the named suites in the lab, or all: style, unit, bus and fuzz (with sanitizers), tidy, and the programs in tests/system,
some side by side. The suite package gets a host of its own, in which nothing was installed, and the suite ansible three,
which trees with the ansible-core of two releases work on. The suite driver wants NVIDIA's packages, from non-free on the
mirror; the trees with them are made once and take 3 GB in the cache. Only when it is named: late, the bus tests without
sanitizers and with messages that come late at random. Ends with 0 if all passed. Uses the lab that is up, else one for the purpose.
END
        soak) cat <<'END' ;;
usage: tests/lab soak [ROUNDS [CASE…]]
The suites live and guest, or only these cases of them, with that many rounds of everything they repeat, 10 if not said: each
round kills the daemon and its workers at their steps while guests compute, and starts a guest ten times.
END
        bench) cat <<'END' ;;
usage: tests/lab bench [--from ARCHIVE] [ARGUMENTS…]
Runs tests/bench/run in the lab, with the arguments, and prints its measurements.
END
        up) cat <<'END' ;;
usage: tests/lab up [--bare] [--from ARCHIVE]
Starts the lab's host, builds and installs the project, starts the daemon.
  --bare            the host only: nothing built, no driver
  --from ARCHIVE    from what `tests/lab pack` wrote
END
        down) cat <<'END' ;;
usage: tests/lab down
Ends the lab of this checkout, at once: its processes, mounts, cgroups and loop devices. Nothing written in it is kept.
END
        status) cat <<'END' ;;
usage: tests/lab status
Says whether the lab is up, with which driver, and which machines run. Ends with 0 if up, 3 if not.
END
        exec) cat <<'END' ;;
usage: tests/lab exec [--] COMMAND [ARGUMENTS…]
Runs a command as root in the lab's host. Standard input, output, error and the exit status are the command's.
The checkout is at /src (read-only), the build at /build; lab-guest SUITE NAME makes a machine.
END
        shell) cat <<'END' ;;
usage: tests/lab shell
An interactive shell as root in the lab's host.
END
        build) cat <<'END' ;;
usage: tests/lab build
Builds the project with the preset dev in the lab's host, installs it there and restarts the daemon.
Uses the lab that is up, else one for the purpose.
END
        deb) cat <<'END' ;;
usage: tests/lab deb [DIRECTORY]
Makes cuda-nspawn_VERSION_amd64.deb, and its debug symbols beside it, in the directory, or in the present one. Compiled as
Debian does it; ends with 0 if lintian has no error and no warning. The same sources give the same bytes.
Uses the lab that is up, else one for the purpose.
END
        pack) cat <<'END' ;;
usage: tests/lab pack FILE.tar.xz
Writes an archive with a small host, a Debian 11 and a Debian 13 guest and what was built. On a machine without a mirror,
with what every Debian or Ubuntu has, and xz, this checkout's tests/lab runs it: tests/lab demo --from FILE.tar.xz
END
        clean) cat <<'END' ;;
usage: tests/lab clean [--all]
Ends the lab of this checkout and removes its build and logs.
  --all             removes the cache of all checkouts too: Debian trees, archives, compiler cache
END
    esac
}
