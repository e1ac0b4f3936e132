# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The real libraries before the loaders of the guests' releases: what a library needs and neither the guest's glibc nor
# the generation has is a fault of the selection.

_generation() {    # BRANCH: the path of its generation, made once
    local tree name
    tree=$(_tree "$1") || exit
    mkdir -p "$stores/$1"
    name=$("$driver_files" build "$tree" "$stores/$1") || exit
    echo "$stores/$1/$name"
}

# In a mount namespace of its own: a tree with a generation where guests have it, and the loader's cache made by the
# tree's own ldconfig. Then what is on standard input, by the tree's shell.
_in_tree() {    # TREE GENERATION
    # shellcheck disable=SC2016 # for the other bash
    unshare --mount --propagation private bash -ec '
        place=$(mktemp -d)
        mount -t tmpfs tmpfs "$place"
        mkdir "$place"/{upper,work,root}
        mount -t overlay -o "lowerdir=$1,upperdir=$place/upper,workdir=$place/work" tree "$place/root"
        mkdir -p "$place/root/run/cuda-nspawn/driver"
        mount --bind "$2" "$place/root/run/cuda-nspawn/driver"
        for directory in "$2"/*/lib "$2"/*/lib32; do
            [ ! -d "$directory" ] || echo "/run/cuda-nspawn/driver${directory#"$2"}"
        done >"$place/root/etc/ld.so.conf.d/00-cuda-nspawn.conf"
        export PATH=/usr/sbin:/usr/bin:/sbin:/bin
        chroot "$place/root" ldconfig
        chroot "$place/root" sh -s' sh "$1" "$2"
}

# A line per thing that the loader does not find: FILE WHAT. As `ldd -r` does it; ldd itself wants the files executable.
_unresolved() {    # TREE GENERATION LOADER FILE-PATTERN
    _in_tree "$1" "$2" <<END | { grep -E 'not found|not defined|undefined|cannot' || true; }
for file in /run/cuda-nspawn/driver/$4; do
    [ -L "\$file" ] || LD_TRACE_LOADED_OBJECTS=1 LD_WARN=yes LD_BIND_NOW=yes $3 "\$file" 2>&1 | sed "s,^,\${file##*/} ,"
done
END
}

# What libraries of a display need of the guest, which has it when it has a display: library, and how its symbols begin.
_of_the_guest='
libX11.so.6             _?X
libXext.so.6            _?X
libwayland-client.so.0  wl_
libGL.so.1              gl
libEGL.so.1             egl
'

# Of those lines the ones that no library of the table explains; each library's own missing ones only.
_unexplained() {
    awk -v table="$_of_the_guest" '
        BEGIN { n = split(table, row, "\n"); for (i = 1; i <= n; i++) if (split(row[i], word, " ") == 2) begins[word[1]] = word[2] }
        { line[NR] = $0; file[NR] = $1 }
        / => not found/ && $2 in begins { missing[$1] = missing[$1] "|" begins[$2]; line[NR] = "" }
        END {
            for (i = 1; i <= NR; i++) {
                if (line[i] == "") continue
                split(line[i], word, "undefined symbol: ")
                if (missing[file[i]] != "" && word[2] ~ "^(" substr(missing[file[i]], 2) ")") continue
                print line[i]
            }
        }'
}

_loads_in_guests() {    # BRANCH
    local generation suite too_new faults
    _packages
    generation=$(_generation "$1")
    for suite in /usr/share/lab/guests/*; do
        # Needs OpenSSL 3 and the glibc of its time; libcuda asks for it only where confidential computing is on.
        too_new='nothing'
        [ "${suite##*/}" != bullseye ] || too_new=libnvidia-pkcs11-openssl3
        faults=$(_unresolved "$suite" "$generation" /lib64/ld-linux-x86-64.so.2 '*/lib/*.so.*' | _unexplained |
            sed "/^$too_new/d")
        [ -z "$faults" ] || fail "${suite##*/} cannot load:" "$faults"
        faults=$(_unresolved "$suite" "$generation" /lib64/ld-linux-x86-64.so.2 '*/bin/*' | _unexplained)
        [ -z "$faults" ] || fail "${suite##*/} cannot run:" "$faults"
    done
}

every_library_and_program_of_535_finds_what_it_needs_in_every_guest() { _loads_in_guests 535; }
every_library_and_program_of_550_finds_what_it_needs_in_every_guest() { _loads_in_guests 550; }

# No guest here has a 32-bit glibc; the trees of the packages have one.
every_32_bit_library_finds_what_it_needs_in_Debian_12_and_13() {
    local branch tree twelve thirteen generation faults
    _packages
    twelve=$(_tree 535)
    thirteen=$(_tree 550)
    for branch in 535 550; do
        generation=$(_generation "$branch")
        for tree in "$twelve" "$thirteen"; do
            faults=$(_unresolved "$tree" "$generation" /lib/ld-linux.so.2 '*/lib32/*.so.*' | _unexplained)
            [ -z "$faults" ] || fail "in $tree:" "$faults"
        done
    done
}

no_32_bit_library_needs_a_newer_glibc_than_Debian_11_has() {
    local branch generation file newest
    _packages
    for branch in 535 550; do
        generation=$(_generation "$branch")
        for file in "$generation"/compat32/lib32/*.so.*; do
            newest=$(readelf --version-info "$file" | grep -o 'GLIBC_2[.0-9]*' | cut -d_ -f2 | sort -V | tail -n 1)
            [ "$(printf '%s\n' "${newest:-2.0}" 2.31 | sort -V | tail -n 1)" = 2.31 ] || fail "$file needs glibc $newest"
        done
    done
}

# Without a kernel module it comes no further; that it says so shows that it found NVML.
nvidia_smi_finds_its_library_in_every_guest() {
    local branch generation suite answer
    _packages
    for branch in 535 550; do
        generation=$(_generation "$branch")
        for suite in /usr/share/lab/guests/*; do
            answer=$(_in_tree "$suite" "$generation" <<<'/run/cuda-nspawn/driver/utility/bin/nvidia-smi || :')
            has "nvidia-smi of $branch in ${suite##*/}" "$answer" "couldn't communicate with the NVIDIA driver"
        done
    done
}

a_generation_of_the_real_driver_is_what_it_was_copied_from() {
    local tree generation size firmware
    _packages
    tree=$(_tree 550)
    generation=$(_generation 550)
    [ -z "$("$driver_files" verify "$tree" "$stores/550" "${generation##*/}")" ]
    firmware=$(find "$generation/compute/firmware" -name 'gsp_ga10x.bin')
    size=$(stat -c %s "$firmware")
    printf X | dd of="$firmware" bs=1 seek=$((size - 1)) conv=notrunc status=none
    has verify "$(refused "$driver_files" verify "$tree" "$stores/550" "${generation##*/}")" "gsp_ga10x.bin differs from"
    rm -rf "$generation"
}
