#!/usr/bin/python
DOCUMENTATION = r'''
---
module: cuda_nspawn_verify
short_description: Whether CUDA works in systemd-nspawn machines with the driver that is loaded now
description:
  - Has C(cuda-nspawnd) look at the driver again, waits until the machines have it, and runs a new self-test in each of them. Tests all of them, and then
    fails if a verdict is not V(passed), or if driver files wait for the kernel module's reload.
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
  description: Why CUDA does not work in the machines that failed, each with C(machine); of one machine the most likely cause first.
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
        self.failures = []

    def machines(self):
        if self.module.params['machines'] is not None:
            return self.module.params['machines']
        return sorted(name for name, machine in self.daemon.machines().items() if machine['State'] == 'attached')

    def run(self):
        if self.module.check_mode:
            return
        machines = self.machines()
        # What fails is said at the end: whoever asked may have stopped all of them, and each is to run again.
        try:
            self.daemon.refresh()
        except BusError as error:
            self.failures.append(str(error))
        for name in machines:
            self.verify(name)
        manager = self.daemon.properties()
        if manager['PendingVersion']:
            self.failures += manager['Warnings'] or ['%s waits for the kernel module\'s reload' % manager['PendingVersion']]

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
            self.failures.append(explained(name, text, findings))
            self.result.setdefault('findings', []).extend(dict(finding, machine=name) for finding in findings)


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
        verification.failures.append(str(error))
    if verification.failures:
        module.fail_json(msg='; '.join(verification.failures), **verification.result)
    module.exit_json(**verification.result)


if __name__ == '__main__':
    main()
