# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of tests/lab share its variables
# Archives: all that a lab needs, for machines that reach no mirror, such as a host with a GPU. An archive has the
# run-time host root with the project installed, two guests, and the test programs. It wants only what every Debian
# or Ubuntu has there, and xz.

pack_guests=(bullseye trixie)

# Unpacks an archive once and sets `pack` to the place.
use_pack() {    # FILE
    local file=$1 digest place
    [ -r "$file" ] || fail "cannot read the archive $file"
    digest=$(sha256sum <"$file")
    place=$cache/roots/pack-${digest:0:12}
    guest_suites=("${pack_guests[@]}")
    host_kind=host
    [ -d "$place" ] || step "unpacking ${file##*/}" unpack "$file" "$place" || exit 1
    pack=$place
    build_dir=$pack/build
}

unpack() {    # FILE PLACE
    local temporary
    exec {pack_lock}>"$cache/locks/pack"
    flock "$pack_lock"
    [ ! -d "$2" ] || return 0
    temporary=$(mktemp -d "$cache/roots/.pack.XXXXXX")
    tar --extract --xz --numeric-owner --xattrs --xattrs-include='*' --file "$1" --directory "$temporary" || return 1
    [ -d "$temporary/host/usr" ] || { echo "$1 is no archive of tests/lab pack"; return 1; }
    chmod 755 "$temporary"
    mv -T "$temporary" "$2"
}

# The trees are put together by copies in a private place; what is large and unused on such a machine stays out.
gather_pack() {    # PLACE
    local place=$1 suite
    cp -a "$(root_of runtime)" "$place/host"
    inside sh -c 'rm -rf /build/.pack && DESTDIR=/build/.pack cmake --install /build --strip' || return 1
    cp -a "$build_dir/.pack/." "$place/host/" || return 1
    rm -rf "$build_dir/.pack"
    for suite in "${pack_guests[@]}"; do
        cp -a "$(root_of "guest-$suite")" "$place/guest-$suite"
        slim_guest "$place/guest-$suite"
    done
    mkdir "$place/build"
    # Programs and libraries of the build, not what they were made from.
    (cd "$build_dir" && find . \( -name CMakeFiles -o -name _deps -o -name '.*' ! -name . \) -prune -o -type f \
        \( -perm /111 -o -name '*.so*' -o -path './tests/simulated/generated/*' \) ! -name '*.a' -print0 | copy_listed "$place/build")
    (cd "$build_dir" && find . -name CMakeFiles -prune -o -type l -name '*.so*' -print0 | copy_listed "$place/build")
    find "$place/build" -type f -exec strip --strip-debug {} + 2>/dev/null || true
}

copy_listed() { xargs -0 -r cp -a --parents --target-directory "$1"; }

slim_guest() {
    (cd "$1" && rm -rf usr/share/perl usr/share/perl5 usr/lib/x86_64-linux-gnu/perl* usr/bin/perl* usr/share/zoneinfo \
        usr/share/i18n usr/lib/x86_64-linux-gnu/gconv usr/lib/udev/hwdb.d usr/lib/udev/hwdb.bin usr/share/bash-completion \
        usr/share/zsh usr/share/keyrings usr/lib/apt usr/bin/apt* usr/lib/x86_64-linux-gnu/libapt-* var/lib/apt)
}

write_pack() {    # PLACE FILE
    tar --create --numeric-owner --xattrs --sort=name --directory "$1" . |
        xz --threads=1 --lzma2=preset=3,dict=256MiB >"$2.new" || return 1
    mv "$2.new" "$2"
    ls -l "$2"
}
