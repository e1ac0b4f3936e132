# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What is there after one command.

the_package_is_the_same_when_it_is_made_again() {
    /src/tests/lab.d/deb --as-built "$BUILD_DIR" "$scratch/again" >/dev/null
    same "the second one" "$(cd "$scratch/again/packages" && sha256sum ./*.deb)" "$(cd "$packages" && sha256sum ./*.deb)"
}

lintian_has_nothing_to_say() {
    same "lintian" "$(lintian --allow-root "$packages"/*.changes)" ""
}

apt_installs_a_daemon_that_works() {
    _have_package
    same "cuda-nspawnd" "$(systemctl is-enabled cuda-nspawnd) $(systemctl is-active cuda-nspawnd)" "enabled active"
    # It had its name on the bus at once: the bus had read our policy by then.
    same "restarts of cuda-nspawnd" "$(systemctl show --property=NRestarts --value cuda-nspawnd)" 0
    same "sockets and mount" \
        "$(systemctl is-active cuda-nspawn-expose.socket cuda-nspawn-look.socket 'run-cuda\x2dnspawn-machines.mount' | xargs)" \
        "active active active"
    same "directories" "$(stat --format='%n %a %U' /run/cuda-nspawn/{machines,work,state} /etc/cuda-nspawn/machines)" \
        $'/run/cuda-nspawn/machines 700 root\n/run/cuda-nspawn/work 700 root\n/run/cuda-nspawn/state 700 root\n/etc/cuda-nspawn/machines 755 root'
    same "files that are not as packed" "$(dpkg --verify cuda-nspawn)" ""
    same "failed units" "$(systemctl --failed --no-legend --plain)" ""
    [ -s /usr/share/man/man8/cuda-nspawnd.8.gz ]
    has "cuda-nspawnctl status" "$(cuda-nspawnctl status)" "$(cat /sys/module/nvidia/version 2>/dev/null || echo 999.42.01)"
}

the_first_machine_works() {
    _have_machine
    sees_exactly "$trainer" 0
}

the_bus_starts_a_daemon_that_was_stopped() {
    _have_package
    systemctl stop cuda-nspawnd
    cuda-nspawnctl list
    wait_until 10 systemctl --quiet is-active cuda-nspawnd
}

the_preset_enables_the_daemon_and_no_machine() {
    _have_package
    systemctl --quiet disable cuda-nspawnd
    systemctl --quiet enable cuda-nspawn@x
    systemctl --quiet preset cuda-nspawnd cuda-nspawn@x
    same "cuda-nspawnd, cuda-nspawn@x" "$(systemctl is-enabled cuda-nspawnd cuda-nspawn@x | xargs)" "enabled disabled"
}

# What the build installs, and no more: the rest is what debhelper adds to every package.
the_package_has_what_is_installed_without_it() {
    rm -rf "$scratch/installed"
    DESTDIR=$scratch/installed cmake --install "$BUILD_DIR" >/dev/null
    same "files and links" \
        "$(dpkg-deb --fsys-tarfile "$(_package)" | tar --list --quoting-style=literal | sed -nE 's,^\.,,; s,(/man/.*)\.gz$,\1,; /[^/]$/p' |
            grep -vE '^/usr/share/(lintian/|doc/cuda-nspawn/(changelog|copyright))' | sort)" \
        "$(cd "$scratch/installed" && find . ! -type d | sed 's,^\.,,' | sort)"
}

nothing_of_the_package_is_a_configuration_file() {
    _have_package
    same "conffiles" "$(dpkg-query --show --showformat='${Conffiles}' cuda-nspawn)" ""
}

the_journals_catalog_knows_its_messages() {
    _have_package
    has "journalctl --list-catalog" "$(journalctl --list-catalog)" "cuda-nspawn: "
}
