#!/usr/bin/python
DOCUMENTATION = r'''
---
module: cuda_nspawn_verify
short_description: Whether CUDA works in systemd-nspawn machines with the driver that is loaded now
description:
  - Has C(cuda-nspawnd) look at the driver again, waits until the machines have it, and runs a new self-test in each of them. Fails at the first verdict
    that is not V(passed), and if driver files wait for the kernel module's reload.
  - In check mode nothing is done.
options:
  machines:
    description: Which; left out, those that run and are attached.
    type: list
    elements: str
  start:
    description: Starts those that do not run.
    type: bool
    default: false
  level:
    description: Of the self-test; left out, what the machine's policy says.
    type: str
    choices: [quick, full]
  timeout:
    description: How long each answer of the daemon is waited for, in seconds.
    type: int
    default: 300
'''

EXAMPLES = r'''
- name: CUDA works in all machines
  cuda_nspawn_verify:
    level: full
'''

RETURN = r'''
verdicts:
  description: By machine, C(verdict) and C(text).
  returned: always
  type: dict
findings:
  description: Why CUDA does not work in the machine that failed, the most likely cause first.
  returned: on failure
  type: list
  elements: dict
'''

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cuda_nspawn import BusError, Daemon, explained


class Verification:
    def __init__(self, module):
        self.module = module
        self.daemon = Daemon(module, module.params['timeout'])
        self.result = {'changed': False, 'verdicts': {}}

    def machines(self):
        if self.module.params['machines'] is not None:
            return self.module.params['machines']
        return sorted(name for name, machine in self.daemon.machines().items() if machine['State'] == 'attached')

    def run(self):
        if self.module.check_mode:
            return
        machines = self.machines()
        self.daemon.refresh()
        for name in machines:
            self.verify(name)
        manager = self.daemon.properties()
        if manager['PendingVersion']:
            self.module.fail_json(msg='; '.join(manager['Warnings']), **self.result)

    def verify(self, name):
        try:
            changes = self.daemon.attach(name, start=self.module.params['start'], fresh=True)
            self.result['changed'] = self.result['changed'] or bool(changes)
            verdict, text = self.daemon.self_test(name, self.module.params['level'])
        except BusError as error:
            verdict, text = 'no-verdict', str(error)
        self.result['verdicts'][name] = {'verdict': verdict, 'text': text}
        if verdict != 'passed':
            findings = self.daemon.findings(name)
            self.module.fail_json(msg=explained(name, text, findings), findings=findings, **self.result)


def main():
    module = AnsibleModule(
        argument_spec={
            'machines': {'type': 'list', 'elements': 'str'},
            'start': {'type': 'bool', 'default': False},
            'level': {'type': 'str', 'choices': ['quick', 'full']},
            'timeout': {'type': 'int', 'default': 300},
        },
        supports_check_mode=True,
    )
    verification = Verification(module)
    try:
        verification.run()
    except BusError as error:
        module.fail_json(msg=str(error), **verification.result)
    module.exit_json(**verification.result)


if __name__ == '__main__':
    main()
