# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# The form of role and playbooks.

# It wants to write beside what it reads.
_lints() {    # CONTROLLER
    _controller "$1" sh -c 'cp -r /src/docs/ansible /src/.yamllint /root && cd /root/ansible && ansible-lint --version && ansible-lint --offline --nocolor --strict --profile production'
}

ansible_lint_of_debian_12_finds_nothing() { _lints bookworm; }
ansible_lint_of_debian_13_finds_nothing() { _lints trixie; }

the_examples_of_the_inventory_are_read() {
    local said
    said=$(_controller trixie ansible-inventory -i inventory --list)
    has "the inventory" "$said" gpu-3.example.org '"state": "prepared"' nvidia-kernel-dkms
    _controller trixie ansible-playbook -i inventory --syntax-check site.yml upgrade-driver.yml
}

the_modules_are_documented() {
    local said
    said=$(_controller trixie ansible-doc -t module -M roles/cuda_nspawn/library cuda_nspawn_machine cuda_nspawn_facts cuda_nspawn_verify)
    has "the documentation" "$said" on_failure "What has the host" verdicts
    has "the role" "$(_controller trixie ansible-doc -t role -r roles cuda_nspawn)" cuda_nspawn_machines cuda_nspawn_driver_packages
}
