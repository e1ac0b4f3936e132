# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# A libcuda that the guest has of its own, in a standard directory and in one that its ld.so.conf.d names. It hangs when it
# is used, so whoever gets it passes no self-test.

_first_libcuda() { in_guest "$guest" ldconfig -p | sed -nE 's/.*libcuda.so.1 .*=> //p' | head -n 1; }

_gives_way() {    # SUITE DIRECTORY
    local root=/var/lib/machines/$guest own=$2/libcuda.so.1
    _make_guest "$1"
    install -D "$BUILD_DIR"/tests/simulated/faults/hang/libcuda.so.* "$root$own"
    echo "$2" >"$root/etc/ld.so.conf.d/000_cuda.conf"
    boot "$guest"
    in_guest "$guest" ldconfig
    same "the guest's libcuda" "$(_first_libcuda)" "$own"
    end_machines "$guest"
    policy "$guest" 'gpus: [0]'
    systemctl start "cuda-nspawn@$guest"
    is_attached "$guest"
    same "the guest's libcuda, attached" "$(_first_libcuda)" /run/cuda-nspawn/driver/compute/lib/libcuda.so.1
    systemctl stop "cuda-nspawn@$guest"
    wait_until 10 _has_nothing_of_ours
    same "the guest's libcuda, detached" "$(_first_libcuda)" "$own"
    _leaves_no_trace
}

a_libcuda_in_a_standard_directory_gives_way_to_the_hosts() {
    local suite
    for suite in bullseye trixie; do _gives_way $suite /usr/lib/x86_64-linux-gnu; done
}

a_libcuda_that_a_file_in_ld_so_conf_d_names_gives_way_to_the_hosts() { _gives_way trixie /usr/local/cuda/compat; }
