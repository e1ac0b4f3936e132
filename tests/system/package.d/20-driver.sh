# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# Packages with a driver come, change and go. The daemon hears of it by dpkg's triggers.

# A package with these files of a driver's, each a copy of what the host has there, or a text.
_driver_package() {    # VERSION PATH…
    local version=$1 tree=$scratch/driver path
    shift
    rm -rf "$tree"
    mkdir -p "$tree/DEBIAN"
    printf '%s\n' 'Package: some-driver' "Version: $version" 'Architecture: amd64' 'Maintainer: nobody <nobody@localhost>' \
        'Description: files where a driver has them' >"$tree/DEBIAN/control"
    for path; do
        mkdir -p "$tree${path%/*}"
        cp -a "$path" "$tree$path" 2>/dev/null || echo "of version $version" >"$tree$path"
    done
    dpkg-deb --build --root-owner-group "$tree" "$scratch/driver.deb" >/dev/null
}

_has_said() { _said | grep -F "$1"; }

# Exactly one line, and no other reason for it.
_is_refreshed_by() {    # PATH COMMAND…
    local path=$1 line
    line="what the machines have is verified (the package manager changed $path)"
    shift
    # Not what was told of the case before, nor of the command before in this one.
    case_begin=$(date '+%Y-%m-%d %H:%M:%S.%6N')
    "$@"
    wait_until 10 _has_said "$line"
    same "what was told of packages" "$(_said | grep -F 'package manager')" "$line"
}

a_driver_package_that_comes_changes_and_goes_is_noticed() {
    local place=/usr/lib/x86_64-linux-gnu/nvidia
    _have_machine
    _driver_package 1 $place/current/some-file
    _is_refreshed_by $place dpkg --install "$scratch/driver.deb"
    _driver_package 2 $place/current/some-file
    _is_refreshed_by $place dpkg --install "$scratch/driver.deb"
    _is_refreshed_by $place dpkg --remove some-driver
    is_attached "$trainer"
}

# Of Ubuntu's packages and NVIDIA's, whose libraries lie among all others.
a_driver_package_without_a_directory_of_its_own_is_noticed_by_its_libcuda() {
    _simulated_only
    local library=/usr/lib/x86_64-linux-gnu/libcuda.so.1
    _have_machine
    _driver_package 1 $library
    _is_refreshed_by $library dpkg --install "$scratch/driver.deb"
    dpkg --remove some-driver
    _driver --gpus 3
    systemctl reload "cuda-nspawn@$trainer"
    is_attached "$trainer"
}

other_packages_are_no_matter() {
    _have_package
    _driver_package 1 /usr/lib/x86_64-linux-gnu/libsomething.so.1 /usr/share/nvidia-something
    dpkg --install "$scratch/driver.deb"
    dpkg --remove some-driver
    lacks "the journal" "$(_said)" "package manager"
}

a_driver_package_starts_no_daemon() {
    _have_package
    systemctl stop cuda-nspawnd
    _driver_package 1 /usr/lib/nvidia/current/some-file
    dpkg --install "$scratch/driver.deb"
    dpkg --remove some-driver
    same "cuda-nspawnd" "$(systemctl is-active cuda-nspawnd)" inactive
    same "packages that wait" "$(dpkg --audit)" ""
    systemctl start cuda-nspawnd
}

a_daemon_that_hangs_is_no_failure_of_a_driver_package() {
    _have_package
    systemctl kill --signal=STOP cuda-nspawnd
    _driver_package 1 /usr/lib/firmware/nvidia/some-file
    dpkg --install "$scratch/driver.deb"
    dpkg --remove --no-triggers some-driver
    systemctl kill --signal=CONT cuda-nspawnd
    dpkg --configure --pending
    same "packages that wait" "$(dpkg --audit)" ""
}
