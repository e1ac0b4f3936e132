# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# The host, which ends with the suite and so is not cleaned, and the packages.

trainer=trainer                  # Debian 13
all_machines=("$trainer")
packages=$BUILD_DIR/deb/packages
scratch=/var/tmp/packages        # next versions, drivers
before=$scratch/before           # what was there before anything was installed

# Before the first case and after the last.
_clean_host() {
    systemctl daemon-reload
    [ -e "$before" ] || _everything >"$before"
}

_begin_with_a_fresh_host() {
    if [ -e /usr/lib/cuda-nspawn ]; then
        echo "package: cuda-nspawn is installed in this host; tests/lab test package brings one where it is not" >&2
        return 1
    fi
    # Documents are left out of the lab's trees; of our package they are to be there.
    rm -f /etc/dpkg/dpkg.cfg.d/99mmdebstrap
    mkdir -p "$scratch" /var/lib/apt/lists/partial
    [ "${LAB_DRIVER:-simulated}" != simulated ] || _driver --gpus 3
}

# All files of the host but what others keep by the way.
_everything() {
    find / -xdev \( -path "$scratch" -o -path /tmp -o -path /root -o -path /usr/share/cuda-nspawn-simulated -o -path /var/log \
        -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/systemd/timesync \
        -o -path /etc/ld.so.cache \) -prune -o -print | sort
    find /run \( -path '*cuda-nspawn*' -o -path '/run/systemd/system/*nspawn*' -o -name '*.nspawn' \) ! -path '/run/systemd/units/*' | sort
}

_package() { printf '%s' "$packages"/cuda-nspawn_*.deb; }

# The same with a later version.
_next_package() {
    local tree=$scratch/next version
    rm -rf "$tree"
    dpkg-deb --raw-extract "$(_package)" "$tree"
    version=$(dpkg-query --show --showformat='${Version}' cuda-nspawn)+next
    sed -i "s/^Version: .*/Version: $version/" "$tree/DEBIAN/control"
    dpkg-deb --build --root-owner-group "$tree" "$scratch/cuda-nspawn_${version}_amd64.deb" >/dev/null
    printf '%s' "$scratch/cuda-nspawn_${version}_amd64.deb"
}

# A fresh host reaches no mirror: what the package depends on is there.
_apt() { DEBIAN_FRONTEND=noninteractive apt-get --yes --no-install-recommends -o APT::Sandbox::User=root "$@"; }

_is_installed() { [ "$(dpkg-query --show --showformat='${db:Status-Status}' cuda-nspawn 2>/dev/null)" = installed ]; }

_have_package() { _is_installed || _apt install "$(_package)"; }

_have_machine() {
    _have_package
    [ -d "/var/lib/machines/$trainer" ] || _make_live trixie "$trainer"
    policy "$trainer" 'gpus: [0]'
    systemctl start "cuda-nspawn@$trainer"
    is_attached "$trainer"
}

_said() { journalctl --sync; journalctl --output=cat --since "$case_begin" --unit=cuda-nspawnd; }
