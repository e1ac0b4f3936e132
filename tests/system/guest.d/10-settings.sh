# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What a settings file may say of a guest's root file system and of its users.

# The programs of a guest whose /usr cannot be written are not linked; they are where the driver is.
_early_service_finds_smi_below_run() {
    sed -i "s|^ExecStart=.*|ExecStart=$smi -L|" "/var/lib/machines/$guest/etc/systemd/system/early-cuda.service"
}

a_read_only_guest_loads_the_driver_by_a_cache_of_its_own() {
    _make_guest
    _early_service_finds_smi_below_run
    _settings '[Files]' ReadOnly=yes
    _works
    has "what the set-up says" "$(in_guest "$guest" cat /run/cuda-nspawn-setup)" \
        'bound over /etc/ld.so.cache' "/usr/bin/nvidia-smi is not linked, this guest's file system is read-only"
    _leaves_no_trace
}

a_guest_whose_state_alone_is_kept_in_memory_works() {
    _make_guest
    _early_service_finds_smi_below_run
    _settings '[Files]' Volatile=state
    _works
    _leaves_no_trace
}

a_guest_below_an_overlay_in_memory_works_and_forgets_all() {
    _make_guest
    # nspawn shifts the owners of no such tree.
    _settings '[Files]' Volatile=overlay '[Exec]' PrivateUsers=no
    _works
    end_machines "$guest"
    same "in its root" "$(find "/var/lib/machines/$guest/etc/ld.so.conf.d" "/var/lib/machines/$guest/usr/bin" -name '*nvidia*' -o -name '*cuda*')" ""
    _leaves_no_trace
}

# Such a guest begins with an empty /etc, in which Debian boots no bus: what can be seen from outside must do.
a_guest_with_nothing_but_its_usr_passes() {
    _make_guest
    _settings '[Files]' Volatile=yes
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    systemctl stop "cuda-nspawn@$guest"
    same "nodes of the guest" "$(find "/run/cuda-nspawn/machines/$guest/dev" -type c)" ""
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    _leaves_no_trace
}

an_ephemeral_guest_works_and_its_image_stays_as_it_was() {
    local before
    _make_guest
    before=$(_tree_of_the_guest)
    _settings '[Exec]' Ephemeral=yes
    _works
    end_machines "$guest"
    same "the image" "$(_tree_of_the_guest)" "$before"
    _leaves_no_trace
}

_tree_of_the_guest() { (cd "/var/lib/machines/$guest" && find etc usr -printf '%p %y %m %U %G %s %l\n' | sort | sha256sum); }

each_choice_of_users_works() {
    local users
    for users in no pick identity; do
        _make_guest
        _settings '[Exec]' "PrivateUsers=$users"
        _works
        _leaves_no_trace
    done
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
