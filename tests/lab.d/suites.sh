# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of tests/lab share its variables
# Suites: what `test` runs in the lab's host.
#
#   unit, bus, fuzz  ctest, by label; fuzz gives every parser the files of tests/fuzz/corpus
#   style, tidy    tests/lab.d/style and tidy: format, linters; clang-tidy
#   asan           unit, bus and fuzz once more, with sanitizers
#   late           bus once more, with late messages; runs only when it is named
#   package        tests/system/package, in a fresh host, with the package made of what the lab has built
#   ansible        tests/system/ansible, in the lab's host, for three fresh ones, with that package
#   others         programs tests/system/NAME; the last line each prints is its closing line, `NAME: N passed, N failed`

system_suites() {
    local program
    for program in "$checkout"/tests/system/*; do
        if [ -f "$program" ] && [ -x "$program" ]; then printf '%s\n' "${program##*/}"; fi
    done
}

house_suites=(unit bus fuzz style tidy asan late)

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

run_suite() {
    case $1 in
        unit | bus | fuzz) inside ctest --test-dir /build --label-regex "^$1\$" --no-tests=error --output-on-failure ;;
        style | tidy | asan | late) inside nice -n 5 "/src/tests/lab.d/$1" /build ;;
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

# Those that leave the host alone run side by side, and beside them the trees are made that others want; system suites
# start and stop machines there, one after another.
run_suites() {    # SUITE…
    local suite kinds failed=()
    # Called by steps_finish.
    # shellcheck disable=SC2317
    step_ended_well() { [[ $1 == root\ * ]] || closing_line "$@"; }
    mapfile -t kinds < <(roots_of_suites "$@")
    start_roots "${kinds[@]}"
    for suite; do
        if is_house_suite "$suite"; then step_start "$suite" run_suite "$suite"; fi
    done
    steps_finish || failed+=("${steps_failed[@]}")
    for suite; do
        is_house_suite "$suite" || step "$suite" run_suite "$suite" || failed+=("$suite")
    done
    [ ${#failed[@]} -eq 0 ] || { say "lab: failed: ${failed[*]}"; return 1; }
}
