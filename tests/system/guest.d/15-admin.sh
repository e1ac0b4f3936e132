# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The admin's settings and ours together: what nspawn would do without us, and ours, is what it does. Compared by what the
# guest sees, with the same file once without a policy and once with one.

# All that a settings file can change in it, but for ours. Services' credentials come and go with them.
_what_the_guest_sees() {
    # shellcheck disable=SC2016 # for the guest's shell
    in_guest "$guest" sh -ec '
        echo "hostname $(cat /proc/sys/kernel/hostname)"
        echo "command $(tr "\0" " " </proc/1/cmdline)"
        tr "\0" "\n" </proc/1/environ | sort | sed "s/^/environment /"
        grep -E "^(Cap|NoNewPrivs|Seccomp|Cpus_allowed_list)" /proc/1/status | tr "\t" " "
        for file in limits uid_map gid_map oom_score_adj personality; do sed "s/^/$file /; s/  */ /g" /proc/1/$file; done
        for link in /sys/class/net/*; do echo "link $(basename "$link") $(cat "$link/address")"; done
        sed -E "s/^[0-9]+ [0-9]+ [0-9:]+ ([^ ]+ [^ ]+ [^ ]+) .*- /mount \1 /; s/(\.#[a-z-]+)[0-9a-f]{16}/\1/g" /proc/1/mountinfo | sort
        echo "time zone $(readlink /etc/localtime)"
        sed "s/^/resolv.conf /" /etc/resolv.conf 2>&1 || :' |
        grep -vE -e '^environment SYSTEMD_UNIT_PATH=/run/cuda-nspawn/guest/units:$' \
            -e '^mount [^ ]+ (/run/cuda-nspawn|/run/cuda-nspawn-store|/run/credentials/[^ ]*) ' \
            -e '^mount /cuda-nspawn-loader/ld.so.cache /etc/ld.so.cache '
}

_sees_the_same_with_us() {    # PART…: of what it sees
    local without with
    boot "$guest"
    without=$(_what_the_guest_sees)
    end_machines "$guest"
    has "what the guest sees without us" "$without" "$@"
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    wait_until 30 has_booted "$guest"
    with=$(_what_the_guest_sees)
    diff <(echo "$without") <(echo "$with") || fail "with us the guest sees something else (>)"
    end_machines "$guest"
    rm "$policies/$guest.yaml"
    wait_until 10 _knows_no_machine
}

_make_guest_of_the_admin() {
    _make_guest
    mkdir -p "$lent"/{lower,upper,with:colon}
    echo 'from the admin' >"$lent/file"
}

without_a_settings_file_the_guest_sees_nothing_but_ours() {
    _make_guest_of_the_admin
    _sees_the_same_with_us "hostname $guest" 'link host0 '
    _leaves_no_trace
}

the_admins_mounts_are_as_without_us() {
    _make_guest_of_the_admin
    _settings '[Files]' "BindReadOnly=$lent:/srv/read-only" "BindReadOnly=$lent/with\\:colon:/srv/with\\:colon" \
        'BindReadOnly=+/usr/share/base-files:/srv/of-its-own' 'TemporaryFileSystem=/srv/memory:size=1M,mode=0700' \
        "OverlayReadOnly=$lent/lower:$lent/upper:/srv/overlay" Inaccessible=/usr/games '[Exec]' Timezone=off \
        '[Files]' "Bind=$lent/file:/srv/file"
    _sees_the_same_with_us ' /srv/read-only ro' ' /srv/with:colon ro' ' /srv/of-its-own ro' ' /srv/memory ' ' /srv/overlay ' \
        ' /usr/games ' ' /srv/file rw'
    _leaves_no_trace
}

the_admins_environment_and_limits_are_as_without_us() {
    _make_guest_of_the_admin
    _settings '[Exec]' 'Environment=ADMIN=yes "QUOTED=two words" PATH=/usr/bin:/bin' 'Environment=EMPTY=' Hostname=named \
        LimitNOFILE=4096:8192 CPUAffinity=0 Personality=x86-64 Timezone=copy \
        MachineID=0123456789abcdef0123456789abcdef ResolvConf=off Boot=yes 'Parameters=--log-level=info systemd.unit=multi-user.target'
    _sees_the_same_with_us 'environment ADMIN=yes' 'environment QUOTED=two words' 'environment PATH=/usr/bin:/bin' 'environment EMPTY=' \
        'hostname named' 'limits Max open files 8192 8192' $'Cpus_allowed_list: 0\n' 'environment container_uuid=01234567-' '--log-level=info systemd.unit=multi-user.target'
    _leaves_no_trace
}

the_admins_capabilities_are_as_without_us() {
    _make_guest_of_the_admin
    _settings '[Exec]' 'Capability=CAP_SYS_MODULE CAP_SYSLOG' 'DropCapability=CAP_SYS_PTRACE CAP_MKNOD' 'SystemCallFilter=add_key ~perf_event_open'
    _sees_the_same_with_us 'CapBnd: 00000004f5e5bfff'
    _settings '[Exec]' Capability=all PrivateUsers=no
    _sees_the_same_with_us "CapBnd: $(awk '/CapBnd/ { print $2 }' /proc/1/status)"
    _leaves_no_trace
}

the_admins_choice_of_users_is_as_without_us() {
    _make_guest_of_the_admin
    _settings '[Exec]' PrivateUsers=no
    _sees_the_same_with_us 'uid_map 0 0 4294967295'
    _settings '[Exec]' PrivateUsers=identity
    _sees_the_same_with_us 'uid_map 0 0 65536'
    _settings '[Exec]' PrivateUsers=1966080:65536 '[Files]' PrivateUsersOwnership=chown "Bind=$lent/file:/srv/file:idmap"
    _sees_the_same_with_us 'uid_map 0 1966080 65536' ' /srv/file '
    _leaves_no_trace
}

the_admins_network_is_as_without_us() {
    _make_guest_of_the_admin
    _settings '[Network]' Private=yes VirtualEthernet=no
    _sees_the_same_with_us 'link lo '
    _settings '[Network]' Zone=lab VirtualEthernetExtra=ve-lab:second
    _sees_the_same_with_us 'link host0 ' 'link second '
    _settings '[Network]' Private=no VirtualEthernet=no
    _sees_the_same_with_us 'link lo 00:00:00:00:00:00'
    _leaves_no_trace
}

the_admins_file_is_as_without_us_however_it_is_written() {
    _make_guest_of_the_admin
    mkdir -p "${settings%/*}"
    # A byte order mark, ends of lines as on Windows, comments within a continued line, and an end within one.
    printf '\xef\xbb\xbf[Files]\r\n# Mine.\r\n  ; indented\r\nBindReadOnly = %s:/srv/a\r\n' "$lent" >"$settings"
    # shellcheck disable=SC1003 # backslashes end the lines
    printf '%s\n' '[Exec]' 'Environment=FIRST=1 \' '# between' '; and again' '  SECOND=2 \' 'THIRD=3' '[Files]' >>"$settings"
    # shellcheck disable=SC1003
    printf '%s\n%s' '[Exec]' 'Environment=LAST=yes \' >>"$settings"
    _sees_the_same_with_us ' /srv/a ro' 'environment FIRST=1' 'environment SECOND=2' 'environment THIRD=3' 'environment LAST=yes'
    _leaves_no_trace
}

# What is an admin's in /run stays there, too.
a_settings_file_in_run_is_as_without_us() {
    local theirs=/run/systemd/nspawn/$guest.nspawn
    _make_guest_of_the_admin
    mkdir -p "${theirs%/*}"
    printf '%s\n' '[Exec]' Environment=ADMIN=run '[Files]' "Bind=$lent:/srv/a" >"$theirs"
    _sees_the_same_with_us 'environment ADMIN=run' ' /srv/a rw'
    same "the admin's file" "$(cat "$theirs")" "$(printf '%s\n' '[Exec]' Environment=ADMIN=run '[Files]' "Bind=$lent:/srv/a")"
    _leaves_no_trace
}

# nspawn trusts no such file, whatever of ours is composed from it.
a_settings_file_beside_the_image_is_as_without_us() {
    local privileged journal
    _make_guest_of_the_admin
    printf '%s\n' '[Exec]' Environment=BESIDE=yes Hostname=beside DropCapability=CAP_SYS_PTRACE Timezone=off \
        Capability=all PrivateUsers=no LimitNOFILE=4096 MachineID=0123456789abcdef0123456789abcdef CPUAffinity=0 \
        'SystemCallFilter=~keyctl' '[Files]' "Bind=$lent:/srv/a" TemporaryFileSystem=/srv/memory Inaccessible=/usr/games \
        "OverlayReadOnly=$lent/lower:$lent/upper:/srv/overlay" BindUser=root PrivateUsersOwnership=chown \
        '[Network]' VirtualEthernet=no Private=no Zone=lab VirtualEthernetExtra=ve-lab:second >"$beside"
    _sees_the_same_with_us 'environment BESIDE=yes' 'hostname beside' 'CapBnd: 00000000fde4bfff' 'link host0 '
    journal=$(journalctl --output=cat --since "$case_begin" CUDA_NSPAWN_MACHINE="$guest")
    for privileged in Capability PrivateUsers LimitNOFILE MachineID CPUAffinity Bind TemporaryFileSystem Inaccessible \
        OverlayReadOnly BindUser PrivateUsersOwnership VirtualEthernet Private Zone VirtualEthernetExtra; do
        has "the journal" "$journal" ": $privileged= has no effect in a file beside the image"
    done
    # One filter that allows something, and nspawn takes none of them.
    printf '%s\n' '[Exec]' 'SystemCallFilter=~keyctl' SystemCallFilter=perf_event_open '[Files]' ReadOnly=yes >"$beside"
    _sees_the_same_with_us 'Seccomp_filters' ' / ro'
    # Nor is it read at all beside a trusted one.
    _settings '[Exec]' Environment=ADMIN=yes
    printf '%s\n' '[Exec]' Environment=BESIDE=yes >"$beside"
    _sees_the_same_with_us 'environment ADMIN=yes'
    _leaves_no_trace
}

a_broken_file_beside_the_image_is_refused_with_its_line() {
    _make_guest
    printf '%s\n' '# Came with the image.' '[Exec]' 'Environment=BESIDE=yes' 'Hostname' >"$beside"
    _is_refused "$beside:4: 'Hostname' is no KEY=VALUE assignment"
    boot "$guest"
    has "the first process's environment" "$(in_guest "$guest" cat /proc/1/environ | tr '\0' ' ')" BESIDE=yes
    _leaves_no_trace
}

# What the machine has at its next start, which asks nobody.
_next_start_has() {    # ADMIN=VALUE, or nothing
    local environment
    end_machines "$guest"
    systemctl start "systemd-nspawn@$guest"
    wait_for_verdict "$guest" 0
    environment=$(in_guest "$guest" cat /proc/1/environ | tr '\0' '\n')
    same "of the admin" "$(sed -n '/^ADMIN=/p' <<<"$environment")" "$1"
    has "the first process's environment" "$environment" SYSTEMD_UNIT_PATH=/run/cuda-nspawn/guest/units:
}

_changes() {    # VALUE, or nothing: what the admin's file says, or that there is none
    local composed=/run/cuda-nspawn/settings/$guest.nspawn
    if [ -n "$1" ]; then
        _settings '[Exec]' "Environment=ADMIN=$1"
        wait_until 10 grep -q "^Environment=ADMIN=$1\$" "$composed"
    else
        rm "$settings"
        wait_until 10 test ! -e "$composed" -a -e "/run/systemd/nspawn/$guest.nspawn"
    fi
}

# The running machine stays what it is.
_changes_while_it_runs() {    # VALUE
    local leader tested
    leader=$(leader_of "$guest")
    tested=$(property "$guest" LastSelfTest)
    _changes "$1"
    wait_for_verdict "$guest" "$tested"
    same "the machine's first process" "$(leader_of "$guest")" "$leader"
}

_changes_while_it_is_down() { end_machines "$guest" && _changes "$1"; }

an_admins_file_that_appears_changes_and_vanishes_has_its_effect_at_the_next_start() {
    _make_guest
    policy "$guest" 'gpus: [0]'
    wait_until 10 property_is "$guest" State ready
    _changes_while_it_is_down appeared
    _next_start_has ADMIN=appeared
    _changes_while_it_runs changed
    _next_start_has ADMIN=changed
    _changes_while_it_is_down ''
    _next_start_has ''
    _changes_while_it_runs appeared-again
    _next_start_has ADMIN=appeared-again
    _changes_while_it_is_down changed-again
    _next_start_has ADMIN=changed-again
    _changes_while_it_runs ''
    _next_start_has ''
    _leaves_no_trace
}

_door_is_closed() { [ "$(door "$guest" "$(node_of 0)")" = closed ]; }

an_admins_file_that_breaks_while_the_machine_runs_is_told_and_mended() {
    _make_guest
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    _settings '[Exec]' 'Environment'
    wait_until 10 property_is "$guest" State blocked
    has StateText "$(property "$guest" StateText)" "$settings:2: 'Environment' is no KEY=VALUE assignment"
    wait_until 10 _door_is_closed
    _settings '[Exec]' 'Environment=ADMIN=mended'
    wait_until 10 property_is "$guest" State attached
    wait_for_verdict "$guest" 0
    _next_start_has ADMIN=mended
    _leaves_no_trace
}
