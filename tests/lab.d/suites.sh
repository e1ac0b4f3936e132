# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of tests/lab share its variables
# Suites: what `test` runs in the lab's host.
#
#   unit, bus, fuzz  tests/lab.d/ctest: tests and daemon with sanitizers; fuzz gives every parser the files of tests/fuzz/corpus
#   style, tidy    tests/lab.d/style and tidy: format, linters; clang-tidy
#   late           bus without sanitizers and with late messages; runs only when it is named
#   package        tests/system/package, in a fresh host, with the package made of what the lab has built
#   ansible        tests/system/ansible, in the lab's host, for three fresh ones, with that package
#   others         programs tests/system/NAME; the last line each prints is its closing line, `NAME: N passed, N failed`

system_suites() {
    local program
    for program in "$checkout"/tests/system/*; do
        if [ -f "$program" ] && [ -x "$program" ]; then printf '%s\n' "${program##*/}"; fi
    done
}

house_suites=(style unit bus fuzz tidy late)

# Those that look for what a fast or slow machine might meet one day.
named_only=(late)

all_suites() { printf '%s\n' "${house_suites[@]}"; system_suites; }

# Those that install the project themselves.
fresh_suites=(package ansible)

is_fresh_suite() { [[ " ${fresh_suites[*]} " == *" $1 "* ]]; }

is_house_suite() { [[ " ${house_suites[*]} " == *" $1 "* ]]; }

# Those that want scdoc, groff and Python.
tool_suites=(docs ctl)

# An archive has no compilers, no sources' tools, no dpkg and so no unit, bus, style, package and docs.
runs_from_archive() { ! is_house_suite "$1" && ! is_fresh_suite "$1" && [[ " ${tool_suites[*]} " != *" $1 "* ]]; }

cases_of_suite() { sed -nE 's/^([a-zA-Z][a-zA-Z0-9_]*)\(\) .*/\1/p' "$checkout/tests/system/$1.d"/*.sh; }

default_suites() {
    local suite
    if [ -z "$from" ]; then all_suites | grep -vxF -f <(printf '%s\n' "${named_only[@]}"); return; fi
    for suite in $(system_suites); do
        if runs_from_archive "$suite"; then echo "$suite"; fi
    done
}

check_suites() {    # SUITE…: all of them exist, and can run on what the host was made of
    local suite
    for suite; do
        all_suites | grep -xF -- "$suite" >/dev/null || usage_error "no suite \"$suite\"; there are: $(all_suites | xargs)"
        [ -z "$pack" ] || runs_from_archive "$suite" || fail "suite $suite needs the build tools, which an archive does not hold"
    done
}

package_as_built() { inside nice -n 5 /src/tests/lab.d/deb --as-built /build /build/deb; }

# What the hosts and the controllers share, keys among it, lies in the build directory, which all of them see.
run_ansible() (
    local kind controllers=''
    trap 'rm -rf "$build_dir/ansible"' EXIT
    trap 'exit 143' HUP INT TERM
    for kind in $(controller_kinds); do
        [ -d "$(root_of "$kind")" ] || { echo "there is no tree $kind"; return 1; }
        controllers+=" ${kind#controller-}=/usr/share/lab/roots/$(basename "$(root_of "$kind")")"
    done
    inside /src/tests/system/ansible.d/keys /build/ansible &&
        beside_fresh_hosts 3 /src/tests/system/ansible.d/target \
            inside env BUILD_DIR=/build LAB_CONTROLLERS="$controllers" /src/tests/system/ansible
)

# Compilers and clang-tidy take what the system suites beside them leave, whose guests and daemons have sessions of their own.
spare() { inside setsid sh -c 'echo 19 >/proc/self/autogroup; exec nice -n 19 "$@"' sh "$@"; }

run_suite() {
    local kind
    for kind in $(roots_of_suites "$1"); do make_root "$kind" || return 1; done    # waits for who is already at it
    case $1 in
        unit | bus | fuzz) spare /src/tests/lab.d/ctest build /build && inside /src/tests/lab.d/ctest run /build "$1" ;;
        style | tidy) spare "/src/tests/lab.d/$1" /build ;;
        late) inside nice -n 5 /src/tests/lab.d/late /build ;;
        package) package_as_built && in_fresh_host inside env BUILD_DIR=/build /src/tests/system/package ;;
        ansible) package_as_built && run_ansible ;;
        *) inside env BUILD_DIR=/build "/src/tests/system/$1" ;;
    esac
}

# Trees that only one suite and the bench want; an archive has none, and they say so.
have_driver_roots() {
    local kinds
    mapfile -t kinds < <(roots_of_suites driver)
    make_roots "${kinds[@]}"
}

roots_of_suites() {    # SUITE…: the kinds, a line each
    [ -z "$pack" ] && [ -z "$(state_value ready from)" ] || return 0
    local suite
    for suite; do
        case $suite in
            driver) driver_kinds ;;
            ansible) controller_kinds ;;
        esac
    done
}

closing_line() {    # TITLE LOG
    local line
    line=$(grep -E '% tests passed|^[a-z_-]+: [0-9]+ passed' "$2" | tail -n 1)
    say "  ${line:-(no closing line in $2)}"
}

# Four lanes, in each of which one suite comes after the other: tests that ctest runs; clang-tidy; those that start and stop
# machines in the lab's host; those with hosts of their own. Beside them the trees are made that others want.
lane_of() {    # SUITE
    if [ "$1" = tidy ]; then echo 1
    elif is_house_suite "$1"; then echo 0
    elif is_fresh_suite "$1"; then echo 3
    else echo 2
    fi
}

run_suites() {    # SUITE…
    local suite kinds lane lanes=('' '' '' '')
    mapfile -t kinds < <(roots_of_suites "$@")
    start_roots "${kinds[@]}"
    for suite; do
        lane=$(lane_of "$suite")
        lanes[lane]+=" $suite"
    done
    start_next_of() {    # LANE
        local waiting
        read -ra waiting <<<"${lanes[$1]}"
        [ ${#waiting[@]} -gt 0 ] || return 0
        lanes[$1]=${waiting[*]:1}
        step_start "${waiting[0]}" run_suite "${waiting[0]}"
    }
    # Called by steps_finish.
    # shellcheck disable=SC2317
    step_ended() {    # TITLE LOG STATUS
        [[ $1 != root\ * ]] || return 0
        [ "$3" -ne 0 ] || closing_line "$1" "$2"
        start_next_of "$(lane_of "$1")"
    }
    for lane in "${!lanes[@]}"; do start_next_of "$lane"; done
    steps_finish || { say "lab: failed: ${steps_failed[*]}"; return 1; }
}
