# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Every command of every document.

every_command_of_the_README_does_what_it_says() {
    _no_trainer
    _run_document README.md
    wait_until 10 has_no_nodes "$trainer"    # the last one takes its GPUs
    same "cuda-nspawn@$trainer at boot" "$(systemctl is-enabled "cuda-nspawn@$trainer")" enabled
    systemctl --quiet disable "cuda-nspawn@$trainer"
    _no_trainer
}

an_upgrade_of_the_driver_goes_as_its_document_says() {
    _simulated_only
    _trainer
    _run_document docs/driver-upgrade.md
    has Generation "$(property "$trainer" Generation)" 999.50.00-
}

# All others find a machine that runs and computes. A new document is among them.
every_command_of_the_other_documents_works() {
    local document
    for document in $("$documents" list); do
        case $document in README.md | docs/driver-upgrade.md | machines/*) continue ;; esac
        _trainer
        _run_document "$document"
        systemctl --quiet disable "cuda-nspawn@$trainer"
    done
}

every_policy_in_the_documents_is_one() {
    local place text file=/tmp/cuda-nspawn-docs.yaml
    while IFS= read -r -d '' place && IFS= read -r -d '' text; do
        echo "$place"
        printf '%s\n' "$text" >"$file"
        cuda-nspawnctl check "$file"
    done < <("$documents" policies)
    rm -f "$file"
}
