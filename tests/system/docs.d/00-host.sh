# shellcheck shell=bash disable=SC2034,SC2154 # the pieces of a suite share its variables
# The machine that all documents call trainer, and how their commands are run.

trainer=trainer
all_machines=("$trainer" render)    # the second one is the demo's
settings=/etc/systemd/nspawn/$trainer.nspawn
computing=/opt/venv/bin/python3    # a program of that name, which computes on the GPU
documents=docs.d/documents.py
PATH=$PWD/docs.d/bin:$PATH

# As the documents find it: it runs and has its GPU, and a service in it computes. Whatever became of the case before.
_trainer() {    # [LINE…]: its policy
    rm -f "$settings"
    _host_has_driver
    [ -d "/var/lib/machines/$trainer" ] || _make_trainer
    systemctl --quiet reset-failed
    _has_policy "${@:-gpus: [0]}"
    wait_until 30 has_booted "$trainer"
    _computes >/dev/null || in_guest "$trainer" systemctl start compute
    wait_until 10 _computes
}

_host_has_driver() {
    [ "${LAB_DRIVER:-simulated}" = simulated ] || return 0
    _driver --gpus 3
    cuda-nspawnctl refresh
}

# It runs with this policy, and CUDA works in it.
_has_policy() {    # LINE…
    policy "$trainer" "$@"
    cuda-nspawnctl reload
    cuda-nspawnctl attach --start --test "$trainer" >/dev/null
    same State "$(property "$trainer" State)" attached
    same Verdict "$(property "$trainer" Verdict)" passed
}

_computes() { cuda-nspawnctl holders "$trainer" | grep " ${computing##*/} .* nvidia[0-9]"; }

_make_trainer() {
    local root=/var/lib/machines/$trainer
    [ -d "$root" ] || lab-guest trixie "$trainer"
    install -D -m 755 "$BUILD_DIR/tests/system/compute" "$root$computing"
    printf '%s\n' '[Service]' "ExecStart=$computing" StandardOutput=null >"$root/etc/systemd/system/compute.service"
}

_no_trainer() {
    rm -f "$policies/$trainer.yaml" "$settings"
    _host_has_driver
    end_machines "$trainer"
    wait_until 10 _knows_no_machine
    rm -rf "/var/lib/machines/$trainer"
}

# A document's commands in their order, each as it stands there or as `stand-ins` says. With `sudo` as above.
_run_document() {    # DOCUMENT
    local place way command shown printed status
    while IFS= read -r -d '' place && IFS= read -r -d '' way && IFS= read -r -d '' command && IFS= read -r -d '' shown; do
        printf '%s: %s: %s\n' "$place" "$way" "$command"
        [ "$way" != elsewhere ] || continue
        # Who types it is slower than a machine's boot.
        [[ ! $command =~ --machine=$trainer ]] || wait_until 30 has_booted "$trainer"
        status=0
        printed=$(_do "$command" 2>&1) || status=$?
        printf '%s\n' "$printed" | tail -n 30
        if [[ $command == *' # fails' ]]; then
            [ $status -ne 0 ] || fail "$place: this ends with 0, and the document says that it fails"
        elif [ $status -ne 0 ]; then
            fail "$place: this ends with $status. If it cannot be run here as it stands, name it in tests/system/docs.d/stand-ins"
        fi
        _has_words "$place" "$printed" "$shown"
    done < <("$documents" commands "$1")
}

# With the suite's own functions at hand, for stand-ins.
_do() {    # COMMAND
    # shellcheck disable=SC2016 # for that shell
    timeout 300 bash -c '. ./lib.sh; for piece in docs.d/*.sh; do . "$piece"; done; set -euo pipefail; eval "$1"' - "$1" </dev/null
}

# Of the words that a document shows three quarters are printed: numbers and some names are others.
_has_words() {    # PLACE PRINTED SHOWN
    local word all=0 missing=()
    while read -r word; do
        all=$((all + 1))
        grep -qiwF -- "$word" <<<"$2" || missing+=("$word")
    done < <(grep -oE '[A-Za-z][A-Za-z-]{2,}' <<<"$3" | sort -u)
    [ $((${#missing[@]} * 4)) -le $all ] || fail "$1: what is printed lacks: ${missing[*]}; the document shows:" "$3"
}
