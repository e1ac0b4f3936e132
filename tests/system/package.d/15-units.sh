# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The units as they are installed.

# All of ours, templates with an instance.
_units() {
    dpkg-query --listfiles cuda-nspawn |
        sed -nE 's,^/usr/lib/systemd/system/([^/]+\.(service|socket|mount))$,\1,p' | sed 's/@\./@x./'
}

# The man pages that they name are there, too.
the_units_are_as_systemd_likes_them() {
    local units
    _have_package
    mapfile -t units < <(_units)
    [ "${#units[@]}" -ge 19 ]
    # Of units that are not ours it says things, too.
    same "systemd-analyze verify" "$(systemd-analyze verify --man=yes "${units[@]}" 2>&1 | grep -i 'cuda.*nspawn')" ""
}

each_unit_has_a_man_page_of_ours() {
    local unit
    _have_package
    for unit in $(_units); do
        has "$unit: Documentation" "$(systemctl show --property=Documentation --value "$unit")" man:cuda-nspawn
    done
}

_exposure_of() { systemd-analyze security --no-pager "$1" | sed -nE 's/.*Overall exposure level for .*: ([0-9.]+) .*/\1/p'; }

# By systemd's own measure, 0 to 10: at most these. What enters machines needs what it has; see the units.
the_units_are_as_closed_as_they_can_be() {
    local unit most is
    _have_package
    while read -r unit most; do
        is=$(_exposure_of "$unit")
        echo "$unit: $is"
        awk "BEGIN { exit !($is <= $most) }" || fail "$unit: systemd-analyze security says $is, more than $most"
    done <<END
cuda-nspawnd.service 2.0
cuda-nspawn-look.service 2.5
cuda-nspawn-examine@x.service 2.5
cuda-nspawn-audit@x.service 2.5
cuda-nspawn-survey@x.service 2.5
cuda-nspawn-holders@x.service 2.5
cuda-nspawn-proxy@x.service 2.5
cuda-nspawn-store@x.service 3.0
cuda-nspawn-expose.service 3.0
cuda-nspawn-audit-images@x.service 4.5
cuda-nspawn@x.service 7.0
cuda-nspawn-mount@x.service 7.0
cuda-nspawn-test@x.service 7.0
END
}
