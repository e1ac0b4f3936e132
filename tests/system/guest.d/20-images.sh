# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Root file systems that are no directory on the host's own file system.

_wants() { command -v "$1" >/dev/null || skip "wants $1"; }

# A file system of its own over the machines' directory, as many hosts have it.
_on_btrfs() {    # COMMAND…
    local file=/var/lib/lab-btrfs status=0
    truncate --size=2G "$file"
    mkfs.btrfs --quiet "$file"
    mount -o loop "$file" /var/lib/machines
    # The directory that was watched lies below.
    systemctl restart cuda-nspawnd
    "$@" || status=$?
    wait_until 10 umount /var/lib/machines
    rm "$file"
    systemctl restart cuda-nspawnd
    return $status
}

_make_subvolume() {
    _make_guest
    mv "/var/lib/machines/$guest" /var/lib/machines/.made
    btrfs --quiet subvolume create "/var/lib/machines/$guest"
    cp -a /var/lib/machines/.made/. "/var/lib/machines/$guest/"
    rm -r /var/lib/machines/.made
}

_subvolume_works() {
    _make_subvolume
    _works
    end_machines "$guest"
    _settings '[Exec]' Ephemeral=yes
    _works
    end_machines "$guest"
    btrfs --quiet subvolume delete "/var/lib/machines/$guest"
    _leaves_no_trace
}

a_btrfs_subvolume_works_and_as_a_snapshot_too() {
    _wants mkfs.btrfs
    _on_btrfs _subvolume_works
}

_make_image() {    # [OFFSET]: from a directory, in bytes from the file's beginning
    local image=/var/lib/machines/.$guest.raw
    _make_guest
    rm -f "$image"
    truncate --size=1G "$image"
    mkfs.ext4 -q -F -E "offset=${1:-0}" -d "/var/lib/machines/$guest" "$image" 900M
    rm -r "/var/lib/machines/$guest"
}

a_raw_image_without_partitions_works() {
    _wants mkfs.ext4
    _make_image
    mv "/var/lib/machines/.$guest.raw" "/var/lib/machines/$guest.raw"
    _works
    _leaves_no_trace
}

a_raw_image_is_left_as_it_was() {
    _wants mkfs.ext4
    _make_image
    mv "/var/lib/machines/.$guest.raw" "/var/lib/machines/$guest.raw"
    root_file_system_stays "$guest"
    _leaves_no_trace
}

# In /dev of the lab's host nobody makes the nodes of partitions, as the kernel does on a real one. So the unit sees the
# kernel's own /dev, with a tun whose rule would else come from the host's.
_with_the_kernels_dev() {    # COMMAND…
    local place=/run/lab-dev drop_in=/run/systemd/system/systemd-nspawn@$guest.service.d
    mkdir -p "$place" "$drop_in"
    mount -t devtmpfs devtmpfs "$place" || skip "the kernel's own /dev cannot be mounted here"
    (
        trap 'rm "$drop_in/lab.conf"; systemctl daemon-reload; umount "$place"' EXIT
        printf '%s\n' '[Service]' "BindPaths=$place:/dev /dev/pts /dev/shm" 'DeviceAllow=/dev/char/10:200 rwm' >"$drop_in/lab.conf"
        systemctl daemon-reload
        "$@"
    )
}

a_raw_image_with_partitions_works() {
    local image=/var/lib/machines/.$guest.raw
    _wants mkfs.ext4
    _wants sfdisk
    _make_image 1048576
    printf '%s\n' 'label: gpt' 'start=2048, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709' | sfdisk --quiet --wipe=never "$image"
    mv "/var/lib/machines/.$guest.raw" "/var/lib/machines/$guest.raw"
    _with_the_kernels_dev _works
    _leaves_no_trace
}
