# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# The machines of the suite, and the host before and after.

thirteen=Upper                        # Debian 13
twelve=a.b                            # Debian 12
eleven=my-box                         # Debian 11
longest=$(printf 'long-%.0s' {1..12})name    # 64 characters, Debian 13
slow=slow                             # Debian 13 with a libcuda of its own that hangs
all_machines=("$thirteen" "$twelve" "$eleven" "$longest" "$slow" clean13 clean11 later musl broken by-hand)

# Where the first case of a piece begins, whatever became of those before.
_set_out() {
    rm -rf "/etc/systemd/nspawn/$eleven.nspawn" "/etc/systemd/system/systemd-nspawn@$eleven.service.d"
    policy "$thirteen" 'gpus: [0]'
    policy "$eleven" "gpus: [$other_gpu]"
    systemctl start "cuda-nspawn@$thirteen" "cuda-nspawn@$eleven"
}
