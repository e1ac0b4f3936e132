# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of tests/lab share its variables
# Roots: the Debian trees that the lab is made of, made once per recipe and kept in the cache.
#
# A recipe is a suite, a package list and the hook that finishes the tree; the tree's name carries the recipe's
# digest. A tree is built under a temporary name and renamed, so what has the final name is complete, and a lock per
# tree lets other checkouts wait for the one that builds it.

guest_suites=(bullseye bookworm trixie sid)    # sid as it was when its tree was made

# The host of the lab at run time …
host_packages=(systemd systemd-sysv systemd-container libpam-systemd dbus dbus-daemon polkitd udev
    iproute2 procps kmod netbase libsdbus-c++2 libyaml-cpp0.8 libspdlog1.15)
# … and what building and testing needs besides.
build_packages=(gcc g++ cmake ninja-build pkg-config ccache libsystemd-dev libsdbus-c++-dev libsdbus-c++-bin
    libyaml-cpp-dev libspdlog-dev nlohmann-json3-dev libgtest-dev libgmock-dev musl-tools
    clang-format clang-tidy libxml2-utils shellcheck yamllint python3 scdoc git strace less
    build-essential debhelper lintian e2fsprogs btrfs-progs fdisk systemd-journal-remote
    openssh-server netcat-openbsd python3-apt)
guest_packages=(systemd systemd-sysv dbus libpam-systemd)

# Trees with NVIDIA's userspace as Debian installs it, for the suite driver and the bench; nothing in them ever runs. By
# branch, the release that has it. All that is built from NVIDIA's archive, for both word sizes, but for the kernel
# module and what wants it or a display server; and what Debian builds itself, by names that look alike.
declare -A driver_suites=([535]=bookworm [550]=trixie)
driver_pattern='?and(?source-package(^nvidia-graphics-drivers$),?or(?architecture(amd64),?not(?name("alternative|common"))),'
driver_pattern+='?not(?name("kernel|detect|legacy-check|nvidia-driver$|driver-full|suspend|powerd|xserver|libopencl1")))'
driver_packages=(nvidia-persistenced nvidia-settings libnvidia-egl-wayland1 libnvidia-egl-wayland1:i386 libnvidia-egl-gbm1
    libnvidia-egl-gbm1:i386 ocl-icd-libopencl1 libvulkan1)
driver_components=main,contrib,non-free,non-free-firmware

# From where the suite ansible works, by release.
controller_suites=(bookworm trixie)
controller_packages=(ansible-core ansible-lint openssh-client netcat-openbsd)

# Debian's mirror as apt on this machine knows it.
mirror() {
    local uri
    # shellcheck disable=SC2016 # apt's own variables
    uri=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }')
    [ -n "$uri" ] || return 1
    printf '%s' "$uri"
}

# apt's own answers about proxies, time-outs and the age of indexes hold for the roots too.
apt_settings() { apt-config dump | grep -E '^Acquire::(http|https|Retries|ForceIPv|Check-|AllowWeak)' || true; }

install_tools() {
    local missing=() program
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap debian-archive-keyring)
    for program in unshare:util-linux nsenter:util-linux setpriv:util-linux flock:util-linux mount:mount losetup:mount xz:xz-utils; do
        command -v "${program%%:*}" >/dev/null || missing+=("${program#*:}")
    done
    [ ${#missing[@]} -eq 0 ] && mirror >/dev/null && return 0
    command -v apt-get >/dev/null ||
        { echo "this machine has no apt-get; missing here: ${missing[*]}"; return 1; }
    # Sources of others may be out of reach; what counts is whether the packages can be had.
    apt-get update || echo "apt-get update had errors; going on with what it has"
    [ ${#missing[@]} -eq 0 ] ||
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}" || return 1
    mirror >/dev/null ||
        { echo "apt on this machine knows no Debian mirror (apt-get indextargets shows none with Origin Debian, component main)"; return 1; }
}

recipe() {    # KIND, one of host, runtime, guest-SUITE, driver-BRANCH, controller-SUITE: suite, packages, hook, further options, a line each
    local kind=$1
    case $kind in
        host) printf '%s\n' trixie "${host_packages[*]} ${build_packages[*]}" finish-host ;;
        runtime) printf '%s\n' trixie "${host_packages[*]}" finish-runtime ;;
        guest-*) printf '%s\n' "${kind#guest-}" "${guest_packages[*]}" finish-guest ;;
        driver-*) printf '%s\n' "${driver_suites[${kind#driver-}]}" "${driver_packages[*]}" finish-guest \
            "--architectures=amd64,i386 --components=$driver_components --include=$driver_pattern" ;;
        controller-*) printf '%s\n' "${kind#controller-}" "${controller_packages[*]}" finish-guest ;;
    esac
}

root_of() {    # KIND: the path of its tree, made or not
    local digest hook
    if [ -n "$pack" ]; then
        printf '%s/%s' "$pack" "$1"
        return
    fi
    case $1 in
        host) hook=finish-host ;;
        runtime) hook='finish-host finish-runtime' ;;
        *) hook=finish-guest ;;
    esac
    # shellcheck disable=SC2086 # the hooks' names are words
    digest=$(cd "$lab_d" && { recipe "$1"; cat finish-common.sh $hook; } | sha256sum)
    printf '%s/roots/%s-%s' "$cache" "$1" "${digest:0:12}"
}

# Runs COMMAND so that it and all it started are gone when this shell is, whatever killed it.
contained() {
    setpriv --pdeathsig KILL -- unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc -- "$@"
}

make_root() {    # KIND
    local kind=$1 root temporary suite packages hook options
    root=$(root_of "$kind")
    exec {root_lock}>"$cache/locks/$kind"
    flock --nonblock "$root_lock" || { echo "another checkout is making $kind; waiting for it"; flock "$root_lock"; }
    [ -d "$root" ] && return 0
    { read -r suite; read -r packages; read -r hook; read -ra options; } < <(recipe "$kind")
    temporary=$(mktemp -d "$cache/roots/.$kind.XXXXXX")
    apt_settings >"$temporary.apt"
    # Without the hook's help mmdebstrap would want the tree world-readable; root needs no sandboxed download.
    contained mmdebstrap --mode=root --variant=minbase --include="${packages// /,}" \
        --aptopt="$temporary.apt" --aptopt='APT::Sandbox::User "root"' --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --customize-hook="$lab_d/$hook" "${options[@]}" "$suite" "$temporary" "$(mirror)" || {
            [[ $kind != driver-* ]] || echo "NVIDIA's packages come from non-free, which the mirror that this machine's apt knows has to offer"
            return 1
        }
    rm -f "$temporary.apt"
    chmod 755 "$temporary"
    mv -T "$temporary" "$root"
    # Recipes that nobody used for a week; a use is a touch.
    find "$cache/roots" -maxdepth 1 -name "$kind-????????????" -mtime +7 -exec rm -rf --one-file-system {} +
}

driver_kinds() { printf 'driver-%s\n' "${!driver_suites[@]}" | sort; }

controller_kinds() { printf 'controller-%s\n' "${controller_suites[@]}"; }

# Where the lab's host sees them: BRANCH=PATH words; "none" where it was made of an archive.
driver_roots() {
    local kind words=()
    if [ -n "$(state_value ready from)" ]; then
        echo none
        return
    fi
    for kind in $(driver_kinds); do
        [ ! -d "$(root_of "$kind")" ] || words+=("${kind#driver-}=/usr/share/lab/roots/$(basename "$(root_of "$kind")")")
    done
    echo "${words[*]}"
}

# Makes whatever is missing of the named roots, side by side.
make_roots() {    # KIND…
    start_roots "$@"
    steps_finish
}

# For steps_finish to wait for.
start_roots() {    # KIND…
    local kind any=
    for kind; do
        touch --no-create "$(root_of "$kind")"
        [ -d "$(root_of "$kind")" ] && continue
        [ -z "$pack" ] || fail "the archive has no tree $kind"
        if [ -z "$any" ]; then
            any=yes
            step "tools on this machine" install_tools || exit 1
        fi
        step_start "root $kind" make_root "$kind"
    done
}

# Removes what interrupted makers left; a tree whose lock is held is still being made.
sweep_cache() {
    local lock tries=0
    for lock in "$cache"/locks/*; do
        [ -e "$lock" ] || continue
        (
            flock --nonblock 9 || exit 0
            # The last processes in the tree may still be dying.
            until rm -rf --one-file-system "$cache/roots/.${lock##*/}".* 2>/dev/null || [ $((tries++)) -ge 20 ]; do sleep 0.2; done
        ) 9>>"$lock"
    done
}
