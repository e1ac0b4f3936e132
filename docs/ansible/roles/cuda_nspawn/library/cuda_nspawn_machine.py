#!/usr/bin/python
DOCUMENTATION = r'''
---
module: cuda_nspawn_machine
short_description: NVIDIA GPUs of one systemd-nspawn machine
description:
  - Writes the machine's policy and has C(cuda-nspawnd) make it so, through its D-Bus API.
  - Check mode and diff mode are the daemon's own plan; in check mode nothing is changed. The result is changed if the policy's text differs or if the
    plan has something to do.
  - A self-test is no change. One is run when something changed, when the last verdict is not good, or when O(test) says so.
options:
  name:
    description: The machine, as C(machinectl) lists it.
    type: str
    required: true
  state:
    description:
      - V(attached), the machine runs, has its GPUs, and CUDA works in it; it is started if it does not run.
      - V(prepared), it gets its GPUs when it starts; if it runs, as with V(attached).
      - V(detached), it has a policy and its GPUs are taken from it until it starts again.
      - V(absent), it has no policy, and nothing of cuda-nspawn's.
    type: str
    choices: [attached, prepared, detached, absent]
    default: attached
  gpus:
    description: As in cuda-nspawn.yaml(5), V(all), V(none), an entry or a list of entries. Left out, C(/etc/cuda-nspawn/defaults.yaml) must have it.
    type: raw
  capabilities:
    description: As in cuda-nspawn.yaml(5).
    type: list
    elements: str
  self_test:
    description: As in cuda-nspawn.yaml(5).
    type: str
    choices: ['quick', 'full', 'off']
  on_failure:
    description: As in cuda-nspawn.yaml(5).
    type: str
    choices: [warn, detach, stop]
  sockets:
    description: As in cuda-nspawn.yaml(5).
    type: list
    elements: str
  test:
    description: Runs a new self-test also where nothing changed and the last verdict was good.
    type: bool
    default: false
  timeout:
    description: How long the daemon's answer is waited for, in seconds.
    type: int
    default: 300
'''

EXAMPLES = r'''
- name: All GPUs for one machine, tested
  cuda_nspawn_machine:
    name: trainer
    gpus: all

- name: Two GPUs at its next start
  cuda_nspawn_machine:
    name: worker
    state: prepared
    gpus: [0, "0000:65:00.0"]
    self_test: full
'''

RETURN = r'''
changes:
  description: What was changed, or would be, each with C(type), C(path) and C(detail); the policy's file is not among them.
  returned: always
  type: list
  elements: dict
machine:
  description: The machine afterwards, as in the facts of the role.
  returned: when the daemon knows it
  type: dict
findings:
  description: Why CUDA does not work in it, the most likely cause first.
  returned: on failure
  type: list
  elements: dict
'''

import json
import os
import re
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cuda_nspawn import BusError, Daemon, explained, is_installed, machine_facts

POLICIES = '/etc/cuda-nspawn/machines'
KEYS = ('gpus', 'capabilities', 'self_test', 'on_failure', 'sockets')
GOOD_VERDICTS = ('passed', 'degraded')


def scalar(value):
    text = str(value)
    return text if re.match(r'^[A-Za-z0-9_-]+$', text) else json.dumps(text)


def policy_text(parameters):
    """The policy's file; the same for the same parameters."""
    lines = ['# Written by Ansible; what is changed here is changed back.']
    for key in KEYS:
        value = parameters[key]
        if isinstance(value, (list, tuple)):
            lines.append('%s: [%s]' % (key, ', '.join(scalar(entry) for entry in value)))
        elif value is not None:
            lines.append('%s: %s' % (key, scalar(value)))
    return '\n'.join(lines) + '\n'


def text_of(path):
    """The file's text; None if there is none."""
    try:
        with open(path, 'rb') as policy:
            return policy.read().decode('utf-8', 'replace')
    except OSError:
        return None


class Machine:
    def __init__(self, module):
        self.module = module
        self.name = module.params['name']
        self.state = module.params['state']
        self.daemon = Daemon(module, module.params['timeout'])
        self.path = os.path.join(POLICIES, self.name + '.yaml')
        self.wanted = None if self.state == 'absent' else policy_text(module.params)
        self.result = {'changed': False, 'changes': []}

    def gives_gpus(self):
        return self.module.params['gpus'] not in ('none', []) and self.state in ('attached', 'prepared')

    def apply(self):
        """Does it, or in check mode says what would be done."""
        if self.module.check_mode and not is_installed():
            return self.foretell_without_daemon()
        self.result['changes'] = self.first_plan()
        present = text_of(self.path)
        self.result['changed'] = present != self.wanted or bool(self.result['changes'])
        if self.module._diff:
            self.result['diff'] = self.diff(present)
        if self.module.check_mode:
            return self.tell_machine()
        if present != self.wanted:
            self.write()
        self.make_it_so()
        self.tell_machine()

    def foretell_without_daemon(self):
        self.result['changed'] = self.wanted is not None
        if self.wanted is not None:
            self.module.warn('%s: no cuda-nspawn on this host yet that could be asked for its plan; the policy would be '
                             'written' % self.name)
        if self.module._diff:
            self.result['diff'] = self.diff(text_of(self.path))

    def first_plan(self):
        """Also refuses a name or a policy that is none, before there is a file of it."""
        try:
            return self.plan(diff=self.module._diff)
        except BusError as error:
            self.module.fail_json(msg='%s: %s' % (self.name, error), **self.result)

    def plan(self, **options):
        if self.state == 'absent':
            options['without_policy'] = True
        else:
            options['policy'] = self.wanted
        if self.state == 'detached':
            options['verb'] = 'detach'
        if self.state == 'attached' and self.gives_gpus():
            options['start'] = True
        return self.daemon.plan(self.name, **options)

    def diff(self, present):
        parts = []
        if present != self.wanted:
            parts.append({'before_header': self.path, 'after_header': self.path,
                          'before': present or '', 'after': self.wanted or ''})
        others = []
        for change in self.result['changes']:
            if change['detail'].startswith('--- '):
                parts.append({'prepared': change['detail']})
            else:
                others.append(' '.join(part for part in (change['type'], change['path'], change['detail']) if part))
        if others:
            parts.append({'prepared': '\n'.join(others) + '\n'})
        return parts

    def write(self):
        """The policy's file from one moment to the next."""
        if self.wanted is None:
            os.unlink(self.path)
            return
        descriptor, temporary = tempfile.mkstemp(prefix='.', suffix='.new', dir=POLICIES)
        with os.fdopen(descriptor, 'wb') as policy:
            policy.write(self.wanted.encode('utf-8'))
        os.chmod(temporary, 0o644)
        self.module.atomic_move(temporary, self.path)

    def make_it_so(self):
        if self.state == 'detached':
            self.daemon.detach(self.name)
        elif self.gives_gpus():
            machine = self.daemon.machines().get(self.name)
            if self.result['changed'] or self.module.params['test'] or not self.is_well(machine):
                self.attach(machine)
        else:
            self.wait_until_nothing_is_left()

    def is_well(self, machine):
        if machine is None or machine['State'] not in ('attached', 'ready'):
            return False
        is_tested = machine['Verdict'] in GOOD_VERDICTS or self.module.params['self_test'] == 'off'
        return machine['State'] == 'ready' or is_tested

    def attach(self, machine):
        # A verdict that was not good is not taken again.
        fresh = self.module.params['test'] or (machine is not None and machine['Verdict'] in ('failed', 'no-verdict'))
        done = self.daemon.attach(self.name, start=self.state == 'attached', test=True, fresh=fresh)
        self.result['changes'] = self.result['changes'] or done
        self.result['changed'] = self.result['changed'] or bool(done)

    def wait_until_nothing_is_left(self):
        machine = self.daemon.machines().get(self.name)
        if self.wanted is None and machine is not None and machine['Policy'] not in ('', self.path):
            raise BusError('it has the policy %s, which is not this role\'s to remove' % machine['Policy'])
        deadline = time.time() + self.module.params['timeout']
        while self.plan():
            if time.time() > deadline:
                raise BusError('what cuda-nspawn gave it is still there after %d s: see journalctl -u cuda-nspawnd'
                               % self.module.params['timeout'])
            time.sleep(0.1)

    def tell_machine(self):
        machine = self.daemon.machines().get(self.name)
        if machine is not None:
            self.result['machine'] = machine_facts(machine)
            for warning in machine['Warnings']:
                self.module.warn('%s: %s' % (self.name, warning))

    def fail(self, text):
        findings = self.daemon.findings(self.name) if is_installed() else []
        try:
            self.tell_machine()
        except BusError:
            pass
        self.module.fail_json(msg=explained(self.name, text, findings), findings=findings, **self.result)


def main():
    module = AnsibleModule(
        argument_spec={
            'name': {'type': 'str', 'required': True},
            'state': {'type': 'str', 'choices': ['attached', 'prepared', 'detached', 'absent'], 'default': 'attached'},
            'gpus': {'type': 'raw'},
            'capabilities': {'type': 'list', 'elements': 'str'},
            'self_test': {'type': 'str', 'choices': ['quick', 'full', 'off']},
            'on_failure': {'type': 'str', 'choices': ['warn', 'detach', 'stop']},
            'sockets': {'type': 'list', 'elements': 'str'},
            'test': {'type': 'bool', 'default': False},
            'timeout': {'type': 'int', 'default': 300},
        },
        supports_check_mode=True,
    )
    machine = Machine(module)
    try:
        machine.apply()
    except BusError as error:
        machine.fail(str(error))
    module.exit_json(**machine.result)


if __name__ == '__main__':
    main()
