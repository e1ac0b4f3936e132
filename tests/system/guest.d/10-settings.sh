# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What a settings file may say of a guest's root file system and of its users.

# The programs of a guest whose /usr cannot be written are not linked; they are where the driver is.
_early_service_finds_smi_below_run() {
    sed -i "s|^ExecStart=.*|ExecStart=$smi -L|" "/var/lib/machines/$guest/etc/systemd/system/early-cuda.service"
}

# As it was after a start without us, in which systemd-nspawn made the places of its mounts.
_keeps_its_root() {    # COMMAND…
    local before
    boot "$guest"
    end_machines "$guest"
    before=$(manifest "$guest")
    "$@"
    end_machines "$guest"
    diff <(echo "$before") <(manifest "$guest") || fail "the root file system is another one (>)"
}

a_read_only_guest_loads_the_driver_by_a_cache_of_its_own() {
    _make_guest
    _early_service_finds_smi_below_run
    _settings '[Files]' ReadOnly=yes
    _keeps_its_root _works_read_only
    _leaves_no_trace
}

_works_read_only() {
    _works
    has "what the set-up says" "$(in_guest "$guest" cat /run/cuda-nspawn-setup)" \
        'bound over /etc/ld.so.cache' "/usr/bin/nvidia-smi is not linked, this guest's file system is read-only"
}

a_guest_whose_state_alone_is_kept_in_memory_works() {
    _make_guest
    _early_service_finds_smi_below_run
    _settings '[Files]' Volatile=state
    _keeps_its_root _works
    _leaves_no_trace
}

a_guest_below_an_overlay_in_memory_works_and_forgets_all() {
    _make_guest
    # nspawn shifts the owners of no such tree.
    _settings '[Files]' Volatile=overlay '[Exec]' PrivateUsers=no
    _keeps_its_root _works
    _leaves_no_trace
}

# In memory too it is what it was, seen while it runs. It began without us, so that there is a before.
what_an_overlay_in_memory_holds_after_a_stop_is_what_it_held_before() {
    local root before
    _make_guest
    _settings '[Files]' Volatile=overlay '[Exec]' PrivateUsers=no
    boot "$guest"
    root=/proc/$(leader_of "$guest")/root/
    in_guest "$guest" sh -c 'ldconfig -X && rm -rf /var/cache/ldconfig'
    before=$(_overlay)
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    has "what differs while attached" "$(diff <(echo "$before") <(_overlay))" 00-cuda-nspawn.conf usr/bin/nvidia-smi
    systemctl stop "cuda-nspawn@$guest"
    wait_until 10 _has_nothing_of_ours
    diff <(echo "$before") <(_overlay) || fail "after the stop it holds something else (>)"
    _leaves_no_trace
}

# Without its logs, and where other file systems are mounted.
_overlay() { manifest_of "$root" | grep -vE $'^(var/log/|(dev|run|tmp)\t)'; }

# Such a guest begins with an empty /etc, in which Debian boots no bus: what can be seen from outside must do. The start
# without us is an ordinary one.
a_guest_with_nothing_but_its_usr_passes() {
    _make_guest
    _keeps_its_root _passes_with_nothing_but_its_usr
    _leaves_no_trace
}

_passes_with_nothing_but_its_usr() {
    _settings '[Files]' Volatile=yes
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    systemctl stop "cuda-nspawn@$guest"
    same "nodes of the guest" "$(find "/run/cuda-nspawn/machines/$guest/dev" -type c)" ""
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
}

an_ephemeral_guest_works_and_its_image_stays_as_it_was() {
    _make_guest
    _settings '[Exec]' Ephemeral=yes
    _keeps_its_root _works
    _leaves_no_trace
}

each_choice_of_users_works() {
    local users
    for users in no pick identity; do
        _make_guest
        _settings '[Exec]' "PrivateUsers=$users"
        _works
        _leaves_no_trace
    done
}

# As on the host, where the kernel module was told so.
nodes_that_are_for_root_alone_are_for_the_guests_root_alone() {
    _simulated_only
    local users root
    _driver --mode 660
    cuda-nspawnctl refresh
    for users in pick no; do
        _make_guest
        _settings '[Exec]' "PrivateUsers=$users"
        _works
        root=$(awk '$1 == 0 { print $2 }' "/proc/$(leader_of "$guest")/uid_map")
        same "its nodes" "$(_nodes_of_the_guest)" "660 $root $root"
        has Checks "$(property "$guest" Checks)" 'the device nodes are for root and its group alone (mode 0660)'
        has "another user of it" "$(_opens_as_another_user 2>&1)" "Permission denied"
        if [ "$users" = no ]; then break; fi
        same "its root" "$((root > 0))" 1
        end_machines "$guest"
        wait_until 10 _nodes_are "660 0 0"
        _starts_before_the_daemon_hears_of_it
        _leaves_no_trace
    done
    # The module is loaded anew, without that parameter, while the guest runs.
    _driver
    wait_until 10 _nodes_are "666 0 0"
    wait_until 10 property_has "$guest" Checks 'user 65534 sees 1 GPU'
    is_attached "$guest"
    same "another user of it" "$(_opens_as_another_user)" open
    _leaves_no_trace
}

# Its set-up waits for the nodes, and so does what needs them.
_starts_before_the_daemon_hears_of_it() {
    local early=/var/lib/machines/$guest/early has_waited=yes
    sed -i "s|^ExecStart=|ExecStartPre=/bin/touch /early\n&|" "${early%/*}/etc/systemd/system/early-cuda.service"
    systemctl kill --signal=STOP cuda-nspawnd
    systemctl start "systemd-nspawn@$guest"
    if wait_until 1 test -e "$early"; then has_waited=no; fi
    systemctl kill --signal=CONT cuda-nspawnd
    same "that it waited" "$has_waited" yes
    wait_until 30 has_booted "$guest"
    same "the service that needs CUDA after sysinit.target" "$(_early_service)" success
}

_nodes_of_the_guest() { find "/run/cuda-nspawn/machines/$guest/dev" -type c -printf '%m %U %G\n' | sort -u; }
_nodes_are() { [ "$(_nodes_of_the_guest)" = "$1" ]; }
_opens_as_another_user() {
    in_guest "$guest" setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'exec 3<>/dev/nvidia0 && echo open' || :
}

# Its files belong to users that it does not have, so its root may write nearly nothing.
a_guest_whose_root_owns_nothing_works() {
    _make_guest
    _early_service_finds_smi_below_run
    _settings '[Exec]' PrivateUsers=1966080:65536
    _works
    has "what the set-up says" "$(in_guest "$guest" cat /run/cuda-nspawn-setup)" \
        "/usr/bin/nvidia-smi is not linked, this guest's root may not write there"
    _leaves_no_trace
}
