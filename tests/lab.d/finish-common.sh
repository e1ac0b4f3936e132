# shellcheck shell=sh disable=SC2154 # root is the hook's
# What every root of the lab has in common at its end; sourced by the finish-* hooks with the tree in $root.
# The hooks run outside the tree and change files only.

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/*-old "$root"/var/log/*.log \
    "$root"/var/log/apt "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/usr/share/info/*
rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/etc/apt/apt.conf.d/99mmdebstrap \
    "$root"/etc/resolv.conf "$root"/var/lib/dbus/machine-id
# Empty, not absent: an id is made at boot, and it is no "first boot" with its questions and presets.
: >"$root"/etc/machine-id
echo 'LANG=C.UTF-8' >"$root"/etc/default/locale

mask() {
    for unit; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
}
mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    motd-news.timer man-db.timer systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service \
    systemd-resolved.service systemd-timesyncd.service

# As in a tree that has been booted before: nothing is rebuilt at the first boot.
touch -r "$root/usr" "$root/etc/.updated" "$root/var/.updated"
