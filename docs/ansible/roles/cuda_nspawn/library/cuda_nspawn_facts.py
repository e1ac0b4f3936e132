#!/usr/bin/python
DOCUMENTATION = r'''
---
module: cuda_nspawn_facts
short_description: Facts about NVIDIA's driver, GPUs, and the systemd-nspawn machines that have them
description:
  - Sets the fact C(cuda_nspawn) from C(cuda-nspawnd)'s D-Bus API. Changes nothing.
  - Where cuda-nspawn is not installed, the fact is an empty dictionary.
'''

EXAMPLES = r'''
- name: What has the host
  cuda_nspawn_facts:
'''

RETURN = r'''
ansible_facts:
  description: The fact C(cuda_nspawn), described in the role's README.
  returned: always
  type: dict
'''

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cuda_nspawn import BusError, Daemon, is_installed, machine_facts


def facts(daemon):
    manager = daemon.properties()
    gpus = [{
        'index': gpu['Index'],
        'uuid': gpu['Uuid'],
        'model': gpu['Model'],
        'minor': gpu['Minor'],
        'pci_address': gpu['PciAddress'],
        'machines': gpu['Machines'],
    } for gpu in daemon.objects('Gpu')]
    return {
        'version': manager['Version'],
        'driver': manager['DriverVersion'],
        'kernel': manager['KernelVersion'],
        'pending': manager['PendingVersion'],
        'cuda': manager['CudaVersion'],
        'generation': manager['Generation'],
        'warnings': manager['Warnings'],
        'gpus': sorted(gpus, key=lambda gpu: gpu['index']),
        'machines': {name: machine_facts(machine) for name, machine in daemon.machines().items()},
    }


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    if not is_installed():
        module.exit_json(ansible_facts={'cuda_nspawn': {}})
    try:
        module.exit_json(ansible_facts={'cuda_nspawn': facts(Daemon(module))})
    except BusError as error:
        module.fail_json(msg=str(error))


if __name__ == '__main__':
    main()
