# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of tests/lab share its variables
# Building the project in the lab's host, installing it there, and setting it to work.

# The build directory outlives the host, so only what changed is built again.
build_project() {
    inside sh -c '
        set -e
        cd /src
        [ -e /build/build.ninja ] || cmake --preset dev -B /build -DCUDA_NSPAWN_CTEST=OFF \
            -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
        ninja -C /build'
}

install_project() { inside cmake --install /build; }

# In the host: what a package's own scripts would do after its files are there.
activate_project() { inside /src/tests/lab.d/activate /build; }

lint_package() { inside sh -c 'lintian --allow-root --fail-on error,warning /build/deb/packages/*.changes'; }

bring_project() {
    [ -n "$pack" ] || { step build build_project && step install install_project; } || exit 1
    step "driver and daemon" activate_project || exit 1
}
