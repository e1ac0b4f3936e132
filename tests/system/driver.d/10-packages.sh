# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What discovery finds in trees where Debian's packages of NVIDIA's driver are installed, 64 and 32 bits, against what
# the packages brought, as dpkg wrote it down there. What Debian built itself is told by the source package.

_packages() { [ "${LAB_DRIVER_ROOTS:-}" != none ] || skip "an archive has no packages of NVIDIA's driver"; }

_tree() {    # BRANCH: the path of its tree
    local word
    for word in ${LAB_DRIVER_ROOTS:-}; do
        [ "${word%%=*}" != "$1" ] || { echo "${word#*=}"; return; }
    done
    fail "the lab has no tree with NVIDIA's driver $1: tests/lab test driver makes it" >&2
}

# Of a package that NVIDIA built: the capability that its files belong to.
_capability_of() {    # PACKAGE ARCHITECTURE
    case $2:$1 in
        i386:*) echo compat32 ;;
        *:libcuda1 | *:libcudadebugger1 | *:libnvidia-allocator1 | *:libnvidia-gpucomp | *:libnvidia-nvvm4) echo compute ;;
        *:libnvidia-pkcs11-openssl3 | *:libnvidia-ptxjitcompiler1 | *:nvidia-opencl-*) echo compute ;;
        *:nvidia-cuda-mps | *:firmware-nvidia-gsp) echo compute ;;
        *:libnvidia-ml1 | *:libnvidia-cfg1 | *:libnvidia-api1 | *:nvidia-smi) echo utility ;;
        *:libnvcuvid1 | *:libnvidia-encode1 | *:libnvidia-opticalflow1 | *:nvidia-vdpau-driver) echo video ;;
        *:libnvidia-ngx1) echo ngx ;;
        *:libegl-nvidia0 | *:libgl1-nvidia-glvnd-glx | *:libgles-nvidia[12] | *:libglx-nvidia0 | *:libnvidia-eglcore) echo graphics ;;
        *:libnvidia-fbc1 | *:libnvidia-glcore | *:libnvidia-glvkspirv | *:libnvidia-rtcore | *:libnvoptix1) echo graphics ;;
        *:nvidia-egl-* | *:nvidia-vulkan-* | *:nvidia-driver-bin | *:nvidia-driver-libs) echo graphics ;;
        *) echo "a-package-that-the-test-does-not-know:$1" ;;
    esac
}

# Files whose package has them beside others.
_of_another_capability='
/usr/lib/nvidia/current/nvidia-debugdump        utility
'

# Files that NVIDIA made and that no machine wants: patterns of the whole path.
_not_wanted='
^/usr/share/(doc|man|lintian|bug|initramfs-tools)/      Debian'\''s own, about the package
^/etc/nvidia/                                           options of the kernel module
^/usr/lib/nvidia/current/nvidia-bug-report\.sh$         looks at the host
^/usr/lib/nvidia/current/[a-z-]*\.1\.gz$                manual pages
^/usr/(lib/nvidia/current|share/nvidia)/[a-z0-9-]*\.ids$  which GPUs which driver is for
^/usr/bin/nvidia-detect$                                a script of Debian'\''s
^/usr/lib/.*/nvidia/wine/_?nvngx\.dll$                  for Windows programs
^/usr/share/nvidia/rim/                                 reference values for a verifier of the host
'

_patterns() { awk 'NF { print $1 }' <<<"$1"; }

# PACKAGE ARCHITECTURE LIST of each installed package that is built from NVIDIA's archive.
_packages_of_nvidia() {    # TREE
    local package architecture list
    awk '/^Package: / { package = $2 } /^Architecture: / { architecture = $2 } /^Source: / { source = $2 }
        /^$/ { if (source == "nvidia-graphics-drivers") print package, architecture; source = "" }' "$1/var/lib/dpkg/status" |
        while read -r package architecture; do
            list=$1/var/lib/dpkg/info/$package:$architecture.list
            [ -e "$list" ] || list=$1/var/lib/dpkg/info/$package.list
            echo "$package" "$architecture" "$list"
        done
}

# CAPABILITY PATH of each regular file that NVIDIA brought and a machine may want.
_expected() {    # TREE
    local package architecture list capability path
    _packages_of_nvidia "$1" | while read -r package architecture list; do
        capability=$(_capability_of "$package" "$architecture")
        grep -vEf <(_patterns "$_not_wanted") "$list" | while read -r path; do
            [ ! -f "$1$path" ] || [ -L "$1$path" ] || echo "$capability" "${path/#\/lib\///usr/lib/}"
        done
    done | awk -v table="$_of_another_capability" '
        BEGIN { n = split(table, row, "\n"); for (i = 1; i <= n; i++) if (split(row[i], word, " ") == 2) other[word[1]] = word[2] }
        $2 in other { $1 = other[$2] } { print }' | sort
}

# nvidia-settings, which Debian builds, brings it by the driver's version; it asks for no newer glibc, so nothing tells
# it from NVIDIA's own.
_indistinguishable='/libnvidia-wayland-client\.so\.'

# The case's own directory, as long as it runs.
_go_to_scratch() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch" || return
}

_finds_what_the_packages_brought() {    # BRANCH
    local tree
    _packages
    tree=$(_tree "$1")
    _go_to_scratch
    _expected "$tree" >expected
    "$driver_files" list "$tree" | awk '{ print $1, $4 }' | grep -v "$_indistinguishable" | sort >found
    [ "$(wc -l <expected)" -gt 50 ]
    diff expected found
}

of_535_all_that_NVIDIA_built_is_found_and_nothing_else() { _finds_what_the_packages_brought 535; }
of_550_all_that_NVIDIA_built_is_found_and_nothing_else() { _finds_what_the_packages_brought 550; }

# Every name by which the packages or the loader know one of the libraries leads to it in a generation too.
_keeps_the_names() {    # BRANCH
    local tree
    _packages
    tree=$(_tree "$1")
    _go_to_scratch
    "$driver_files" list "$tree" | awk '$2 ~ /^lib/ { n = split($0, word, " "); for (i = 5; i <= n; i++) { sub(".*/", "", word[i])
        print $4, word[i] } print $4, $3 }' | sort -u >names
    {
        _packages_of_nvidia "$tree" | while read -r _ _ list; do
            sed -n '/\.so/p' "$list" | while read -r path; do
                [ ! -L "$tree$path" ] || echo "$(chroot "$tree" readlink -f "$path")" "${path##*/}"
            done
        done
        cut -d' ' -f1 names | sort -u | while read -r path; do
            echo "$path" "$(readelf --dynamic "$tree$path" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')"
        done | awk 'NF == 2'
    } | grep -Ff <(cut -d' ' -f1 names | sort -u) | sort -u >wanted
    [ "$(wc -l <wanted)" -gt 50 ]
    [ -z "$(comm -13 names wanted)" ] || fail "names that lead nowhere in a generation:" "$(comm -13 names wanted)"
}

of_535_every_soname_and_link_is_kept() { _keeps_the_names 535; }
of_550_every_soname_and_link_is_kept() { _keeps_the_names 550; }

what_Debian_built_is_left_out_and_named() {
    local branch tree notes
    _packages
    for branch in 535 550; do
        tree=$(_tree "$branch")
        notes=$("$driver_files" list "$tree" 2>&1 >/dev/null)
        has "$branch" "$notes" 'built by the distribution for its own glibc' /usr/lib/x86_64-linux-gnu/libnvidia-egl-gbm.so.1.1. \
            /usr/lib/i386-linux-gnu/libnvidia-egl-wayland.so.1.1. /usr/bin/nvidia-persistenced
        lacks "$branch" "$notes" truncated 'architecture' 'gone'
    done
}
