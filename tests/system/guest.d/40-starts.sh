# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# A service of the guest that needs CUDA and is ordered only after sysinit.target: it finds it at every start, whatever
# became of driver and guest between two starts.

_starts() { systemctl start "systemd-nspawn@$guest" && wait_until 30 has_booted "$guest"; }

the_first_service_that_needs_cuda_finds_it_at_every_start() {
    local start starts=$((rounds > 1 ? 10 * rounds : 4)) version
    _make_guest
    policy "$guest" 'gpus: [0]'
    wait_until 10 property_is "$guest" State ready
    for ((start = 0; start < starts; start++)); do
        _starts
        same "the early service, start $((start + 1)) of $starts" "$(_early_service)" success
        # The next start finds: what an orderly end leaves; what a killed guest leaves; another driver; the first one again.
        case $((start % 4)) in
            0) end_machines "$guest" ;;
            1) kill_machine "$guest" ;;
            *)
                end_machines "$guest"
                version=999.$((80 + start % 4)).00
                [ "${LAB_DRIVER:-simulated}" != simulated ] || _gets_driver "$version"
                ;;
        esac
    done
    [ "${LAB_DRIVER:-simulated}" != simulated ] || _gets_driver 999.42.01
    _leaves_no_trace
}

_gets_driver() {    # VERSION
    _driver --version "$1"
    cuda-nspawnctl refresh
    wait_until 20 property_is "$guest" State ready
}
