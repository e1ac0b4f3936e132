# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What admins have of their own: settings files, overrides of the machine's unit, guests of all kinds.

settings=/etc/systemd/nspawn/$eleven.nspawn
override=/etc/systemd/system/systemd-nspawn@$eleven.service.d/override.conf
stock='systemd-nspawn --quiet --keep-unit --boot --link-journal=try-guest --network-veth -U'

_fingerprint() { stat --format='%i %a %u:%g %s %Y %Z' "$1" && sha256sum "$1"; }

_boots_and_is_not_given_anything() {    # MACHINE
    has_no_rules_of_ours "$1"
    same "$1: settings files of ours" "$(find /run/systemd/nspawn /run/cuda-nspawn/settings -name "$1.nspawn")" ""
    end_machines "$1"
}

an_admins_settings_file_works_together_with_ours_and_is_not_touched() {
    local before
    _set_out
    end_machines "$eleven"
    mkdir -p /srv/lab-data /etc/systemd/nspawn
    echo 'from the admin' >/srv/lab-data/file
    printf '%s\n' '# Mine.' '[Files]' 'BindReadOnly=/srv/lab-data:/mnt' '[Exec]' 'Environment=ADMIN=yes' >"$settings"
    before=$(_fingerprint "$settings")
    systemctl start "cuda-nspawn@$eleven"
    is_attached "$eleven"
    sees_exactly "$eleven" "$other_gpu"
    same "the admin's bind" "$(in_guest "$eleven" cat /mnt/file)" 'from the admin'
    has "the first process's environment" "$(in_guest "$eleven" cat /proc/1/environ | tr '\0' ' ')" ADMIN=yes
    same "the admin's file" "$(_fingerprint "$settings")" "$before"
}

a_change_of_the_admins_settings_file_is_followed() {
    end_machines "$eleven"
    sed -i s,/mnt,/srv, "$settings"
    # The machine's own start does not ask us.
    wait_until 10 grep -q :/srv "/run/cuda-nspawn/settings/$eleven.nspawn"
    systemctl start "$(unit_of "$eleven")"
    wait_for_verdict "$eleven" 0
    same "the admin's bind" "$(in_guest "$eleven" cat /srv/file)" 'from the admin'
}

a_broken_settings_file_is_refused_with_its_line_and_the_machine_boots() {
    end_machines "$eleven"
    printf '%s\n' '[Files]' 'BindReadOnly=/srv/lab-data:/mnt' 'this is no assignment' >"$settings"
    local before
    before=$(_fingerprint "$settings")
    refuses_but_boots "$eleven" "$settings:3: 'this is no assignment'"
    same "the admin's bind" "$(in_guest "$eleven" cat /mnt/file)" 'from the admin'
    same "the admin's file" "$(_fingerprint "$settings")" "$before"
    _boots_and_is_not_given_anything "$eleven"
}

a_settings_file_that_collides_with_ours_is_refused_with_its_line() {
    printf '%s\n' '[Files]' 'BindReadOnly=/srv/lab-data:/run/cuda-nspawn' >"$settings"
    refuses_but_boots "$eleven" "$settings:2: BindReadOnly= mounts something on /run/cuda-nspawn"
    _boots_and_is_not_given_anything "$eleven"
    rm "$settings"
}

a_settings_file_beside_the_image_is_not_promoted() {
    printf '%s\n' '[Files]' 'BindReadOnly=/srv/lab-data:/mnt' '[Exec]' 'Environment=BESIDE=yes' >"/var/lib/machines/$eleven.nspawn"
    systemctl start "cuda-nspawn@$eleven"
    is_attached "$eleven"
    refused in_guest "$eleven" test -e /mnt/file
    has "the first process's environment" "$(in_guest "$eleven" cat /proc/1/environ | tr '\0' ' ')" BESIDE=yes
    has "the journal" "$(journalctl --output=cat --since "$case_begin" CUDA_NSPAWN_MACHINE="$eleven")" \
        "$eleven.nspawn:2: BindReadOnly= has no effect in a file beside the image" "/etc/systemd/nspawn/$eleven.nspawn"
    end_machines "$eleven"
    rm "/var/lib/machines/$eleven.nspawn"
}

_override() {    # OPTION: one more in the machine's command line
    mkdir -p "${override%/*}"
    printf '%s\n' '[Service]' ExecStart= "ExecStart=$stock $1 --machine=%i" >"$override"
    systemctl daemon-reload
}

an_override_with_settings_off_is_told_with_its_file_and_the_machine_boots() {
    _override --settings=no
    refuses_but_boots "$eleven" "$override" --settings=no --settings=override
    _boots_and_is_not_given_anything "$eleven"
}

an_override_with_a_bind_is_told_with_the_line_to_write_and_the_machine_boots() {
    _override '--settings=override --bind-ro=/srv/lab-data:/mnt'
    refuses_but_boots "$eleven" "$override" '--bind-ro=/srv/lab-data:/mnt' 'BindReadOnly=/srv/lab-data:/mnt' "$settings"
    same "the admin's bind" "$(in_guest "$eleven" cat /mnt/file)" 'from the admin'
    _boots_and_is_not_given_anything "$eleven"
}

an_override_that_is_taken_out_again_is_forgotten() {
    rm -r "${override%/*}"
    systemctl daemon-reload
    systemctl start "cuda-nspawn@$eleven"
    is_attached "$eleven"
}

a_rule_of_the_admins_that_opens_every_GPU_is_found_by_the_isolation_probe() {
    _two_gpus
    mkdir -p "${override%/*}"
    printf '%s\n' '[Service]' 'DeviceAllow=char-nvidia rw' >"$override"
    systemctl daemon-reload
    end_machines "$eleven"
    refused systemctl start "cuda-nspawn@$eleven"
    tells "$eleven" 'failed: isolation: /dev/nvidia' 'opens in the machine and is not granted'
    same "the door" "$(door "$eleven" "$(node_of 0)")" open
    end_machines "$eleven"
    rm -r "${override%/*}"
    systemctl daemon-reload
    systemctl start "cuda-nspawn@$eleven"
    is_attached "$eleven"
}

a_guest_without_glibc_is_told() {
    local root=/var/lib/machines/musl
    mkdir -p $root/etc $root/usr/bin $root/lib
    printf '%s\n' 'ID=alpine' 'PRETTY_NAME="Alpine Linux v3.20"' >$root/etc/os-release
    cp /usr/lib/x86_64-linux-musl/libc.so $root/lib/ld-musl-x86_64.so.1 2>/dev/null || cp /bin/true $root/lib/ld-musl-x86_64.so.1
    policy musl 'gpus: all'
    refused systemctl start cuda-nspawn@musl
    tells musl 'The guest (Alpine Linux v3.20) uses musl'
    same State "$(property musl State)" blocked
    same "settings files of ours" "$(find /run/systemd/nspawn /run/cuda-nspawn/settings -name musl.nspawn)" ""
    lacks "the unit" "$(systemctl cat systemd-nspawn@musl)" DeviceAllow=/dev/char
    rm -r "$root" "$policies/musl.yaml"
}

a_policy_for_an_empty_directory_is_told() {
    mkdir -p /var/lib/machines/broken
    policy broken 'gpus: all'
    refused systemctl start cuda-nspawn@broken
    tells broken 'No operating system was found'
    rm -r /var/lib/machines/broken "$policies/broken.yaml"
}
