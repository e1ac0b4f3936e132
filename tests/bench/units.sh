# shellcheck shell=bash disable=SC2154 # the parts of the bench share its variables
# How open systemd finds our units, from 0 to 10. What is too much, the suite package says.

clean_units() { :; }

measure_units() {
    local path unit
    for path in /usr/lib/systemd/system/cuda-nspawn*.service; do
        unit=${path##*/}
        row "exposure of $unit" "$(systemd-analyze security --no-pager "${unit/@./@x.}" |
            sed -nE 's/.*Overall exposure level for .*: ([0-9.]+) .*/\1/p')" '' 0 '' 'systemd-analyze security'
    done
}
