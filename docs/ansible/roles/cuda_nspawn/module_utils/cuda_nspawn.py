# What the modules of this role share: the daemon's D-Bus API, by busctl. No Python D-Bus library is needed on the host.
import json
import os

NAME = 'org.cudanspawn1'
ROOT = '/org/cudanspawn1'
ACTIVATION_FILE = '/usr/share/dbus-1/system-services/%s.service' % NAME

FINDING_FIELDS = ('code', 'severity', 'text', 'evidence', 'where', 'fix', 'explains', 'documentation')

PLACES = {'host': 'On the host: ', 'machine': 'In the machine: ', 'policy': 'In the policy: '}


class BusError(Exception):
    """A call that failed; the text is the daemon's."""


def is_installed():
    return os.path.exists(ACTIVATION_FILE)


class Daemon:
    def __init__(self, module, timeout=300):
        self.module = module
        self.busctl = [module.get_bin_path('busctl', required=True), '--system', '--json=short', '--timeout=%d' % timeout]

    def call(self, interface, method, signature='', *arguments):
        """The values that the method answers."""
        command = self.busctl + ['--', 'call', NAME, ROOT, interface, method]
        if signature:
            command += [signature] + list(arguments)
        status, out, error = self.module.run_command(command)
        if status == 0:
            return json.loads(out)['data'] if out.strip() else []
        text = error.strip()
        if text.startswith('Call failed: '):
            text = text[len('Call failed: '):]
        if not is_installed():
            text = ('cuda-nspawn is not installed on this host: set cuda_nspawn_package to its .deb, or install it by '
                    'other means (%s)' % text)
        raise BusError(text)

    def manager(self, method, name, options):
        """A method of the manager about one machine; options are booleans and strings."""
        arguments = [name, str(len(options))]
        for key, value in sorted(options.items()):
            if isinstance(value, bool):
                arguments += [key, 'b', 'true' if value else 'false']
            else:
                arguments += [key, 's', value]
        return self.call(NAME + '.Manager', method, 'sa{sv}', *arguments)

    def plan(self, name, **options):
        return [dict(zip(('type', 'path', 'detail'), change)) for change in self.manager('Plan', name, options)[0]]

    def attach(self, name, **options):
        changes = self.manager('Attach', name, dict(options, wait=True))[1]
        return [dict(zip(('type', 'path', 'detail'), change)) for change in changes]

    def detach(self, name):
        changes = self.manager('Detach', name, {'wait': True})[1]
        return [dict(zip(('type', 'path', 'detail'), change)) for change in changes]

    def self_test(self, name, level):
        """Verdict and summary of a new self-test."""
        options = {'wait': True}
        if level:
            options['level'] = level
        return self.manager('SelfTest', name, options)[1:]

    def refresh(self):
        self.call(NAME + '.Manager', 'Refresh', 'a{sv}', '1', 'cause', 's', 'Ansible')

    def findings(self, name):
        """Why CUDA does not work in a machine; none if that cannot be said."""
        try:
            return [dict(zip(FINDING_FIELDS, finding)) for finding in self.manager('Diagnose', name, {})[0]]
        except BusError:
            return []

    def properties(self):
        """Of the manager: {PROPERTY: VALUE}."""
        return plain(self.call('org.freedesktop.DBus.Properties', 'GetAll', 's', NAME + '.Manager')[0])

    def objects(self, kind):
        """The properties of all machines or GPUs, a dictionary each."""
        objects = self.call('org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')[0]
        interface = NAME + '.' + kind
        return [plain(interfaces[interface]) for interfaces in objects.values() if interface in interfaces]

    def machines(self):
        return {machine['Name']: machine for machine in self.objects('Machine')}


def plain(properties):
    """Properties as busctl writes them, without their types."""
    return {name: value['data'] for name, value in properties.items()}


def machine_facts(machine):
    """A machine's properties as facts."""
    return {
        'state': machine['State'],
        'text': machine['StateText'],
        'policy': machine['Policy'],
        'policy_errors': machine['PolicyErrors'],
        'gpus': machine['Gpus'],
        'generation': machine['Generation'],
        'unit': machine['Unit'],
        'verdict': machine['Verdict'],
        'verdict_text': machine['VerdictText'],
        'findings': [dict(zip(('code', 'severity', 'text'), finding)) for finding in machine['Findings']],
        'warnings': machine['Warnings'],
    }


def explained(name, text, findings):
    """A failure with its most likely cause and what mends it, as the daemon says it of an attach."""
    cause = findings[0] if findings else None
    if cause is None or cause['severity'] != 'error' or '[%s]' % cause['code'] in text:
        return '%s: %s' % (name, text)
    text = text.rstrip('.')
    if cause['text'].rstrip('.') not in text:
        text += '. Cause: ' + cause['text'].rstrip('.')
    return '%s: %s. %s%s [%s]' % (name, text, PLACES.get(cause['where'], ''), cause['fix'], cause['code'])
