"""Boundary values on every method that the daemon shows, calls by the hundred, and callers that vanish.

boundary.py methods | flood | vanish   as whoever runs it. Prints what is wrong, and a line of numbers; exit status 1
if anything is."""

import sys
import time
import xml.etree.ElementTree as ElementTree

from bus import NO_REPLY, Bus, Disconnected

DESTINATION = "org.cudanspawn1"
MANAGER = "org.cudanspawn1.Manager"
SLOWEST = 30    # seconds for one answer; a diagnosis runs a worker
# An error is one of ours or one of those that the bus and every object on it have.
STANDARD = {f"org.freedesktop.DBus.Error.{name}" for name in (
    "AccessDenied", "InteractiveAuthorizationRequired", "InvalidArgs", "LimitsExceeded", "PropertyReadOnly",
    "UnknownInterface", "UnknownMethod", "UnknownObject", "UnknownProperty")}

problems, counts = [], {}


def count(what):
    counts[what] = counts.get(what, 0) + 1


class Client:
    """One that connects again when the bus has thrown it out."""

    def __init__(self):
        self.bus = Bus(SLOWEST)

    def call(self, what, path, interface, member, signature, values):
        began = time.monotonic()
        try:
            answer = self.bus.call(DESTINATION, path, interface, member, signature=signature, values=values)
        except Disconnected:
            count("thrown out by the bus")
            self.bus = Bus(SLOWEST)
            return None
        except TimeoutError:
            problems.append(f"{what}: no answer in {SLOWEST} s")
            self.bus = Bus(SLOWEST)
            return None
        judge(what, answer)
        took = time.monotonic() - began
        counts["slowest"] = max(counts.get("slowest", 0), round(took, 2))
        return answer


def judge(what, answer):
    count(answer.error or "done")
    if answer.error and not (answer.error.startswith("org.cudanspawn1.Error.") or answer.error in STANDARD):
        problems.append(f"{what}: {answer.error}: {answer.text}")
    if answer.error and not answer.text:
        problems.append(f"{what}: {answer.error} without a text")


# --- what there is ---------------------------------------------------------------------------------------------------

def objects(client, path="/"):
    """All paths, with their introspection."""
    node = ElementTree.fromstring(client.bus.call(DESTINATION, path, "org.freedesktop.DBus.Introspectable",
                                                  "Introspect").values[0])
    yield path, node
    for child in node.findall("node"):
        yield from objects(client, path.rstrip("/") + "/" + child.get("name"))


def methods(client):
    """Of each interface, on the first object that has it: path, interface, method, types of the arguments."""
    seen = set()
    for path, node in objects(client):
        for interface in node.findall("interface"):
            if path.count("/") < 2 or interface.get("name") in seen:
                continue
            seen.add(interface.get("name"))
            for method in interface.findall("method"):
                yield path, interface.get("name"), method.get("name"), [
                    arg.get("type") for arg in method.findall("arg") if arg.get("direction") != "out"]


# --- values ----------------------------------------------------------------------------------------------------------

def nested(depth):
    value = ("s", "deep")
    for _ in range(depth):
        value = ("v", value)
    return value


OPTIONS = ("start", "test", "fresh", "wait", "by_unit", "offline", "level", "program", "library_path", "images",
           "cause", "verb", "diff", "policy", "without_policy")

STRINGS = ["", "x", "nosuch", "x" * 64, "x" * 65, "x" * 65536, "x" * (1 << 20), "../x", "..", ".", "/", "a/b", "a//b",
           "%i", "%n%n%s", "a\nb", "a\tb", "\x01", "\x7f", "ü", "\U0001f600", "-x", "x-", ".host", "a b", "$(id)",
           "'; id; '", MANAGER, "org.cudanspawn1.Machine", "org.freedesktop.LogControl1", "State", "LogLevel"]
BROKEN_STRINGS = [b"\xff\xfe", b"a\xc0\x80", b"a\0b", b"\xed\xa0\x80"]
DICTIONARIES = (
    [{}, {"": ("b", True)}, {"nosuch": ("b", True)}, {"x" * (1 << 20): ("b", True)}, {"../x": ("s", "../x")},
     {f"key{i}": ("u", i) for i in range(5000)}, [("wait", ("b", True))] * 5000 + [("nosuch", ("b", True))],
     {"nosuch": nested(50)}, {"nosuch": ("ay", b"x" * (1 << 20))}, {"nosuch": ("as", ["x"] * 50000)},
     {"nosuch": ("a{sv}", {"nosuch": ("a{sv}", {})})}, {"a\nb": ("s", "a\nb")}]
    + [{key: ("x", -1)} for key in OPTIONS]
    + [{"wait": one} for one in (("as", []), ("v", ("b", True)), ("a{sv}", {}), ("d", 0.5), ("ay", b"\xff"), ("s", "yes"))]
    + [{"nosuch": ("ay", b"x" * (16 << 20))}, {f"key{i}": ("b", True) for i in range(32)}]
    + [{"level": ("s", "x" * 65536)}, {"program": ("s", "x")}, {"library_path": ("s", "x" * (1 << 20))},
       {"by_unit": ("b", True), "offline": ("b", True)}, {"cause": ("s", "x\n" * 65536)}, {"verb": ("s", "x" * 65536)},
       {"policy": ("s", "[" * 65536)}, {"policy": ("s", "a: &a [*a, *a]\n" * 1000)}, {"policy": ("s", "x" * (1 << 20))}])
NUMBERS = [0, 1, 4294967295]
VALUES = {"s": STRINGS, "a{sv}": DICTIONARIES, "u": NUMBERS, "v": [("s", "x"), ("b", True), nested(50), ("ay", b"x" * 65536)]}
DEFAULTS = {"s": "nosuch", "a{sv}": {}, "u": 4294967295, "v": ("s", "x")}
WRONG = [("", []), ("s", ["nosuch"]), ("ss", ["nosuch"] * 2), ("s" * 100, ["nosuch"] * 100), ("u", [0]), ("b", [True]),
         ("as", [["x"] * 10000]), ("ay", [b"x" * (1 << 20)]), ("a{ss}", [{"wait": "true"}]), ("v", [nested(50)]),
         ("a{sv}", [{}]), ("sa{sv}s", ["nosuch", {}, "x"]), ("a{sv}s", [{}, "nosuch"]), ("o", ["/"]), ("g", ["a{sv}"]),
         ("(sa{sv})", [("nosuch", {})]), ("d", [float("nan")])]
PATHS = ["/", "/org", "/org/cudanspawn1/machine", "/org/cudanspawn1/machine/nosuch", "/org/cudanspawn1/machine/_",
         "/org/cudanspawn1/machine/_6", "/org/cudanspawn1/machine/_zz", "/org/cudanspawn1/machine/_2e_2e_2fx",
         "/org/cudanspawn1/machine/" + "x" * 65000, "/org/cudanspawn1" + "/x" * 10000, "/org/cudanspawn1/job/0",
         "/org/cudanspawn1/job/4294967296", "/org/cudanspawn1/gpu/nosuch", "/org/freedesktop/LogControl1/x"]


def calls_of(types):
    """Signature and arguments: each argument by each of its values, then other signatures."""
    for place, kind in enumerate(types):
        for value in VALUES[kind]:
            yield "".join(types), [value if i == place else DEFAULTS[one] for i, one in enumerate(types)]
    if not types:
        yield "", []
    yield from ((signature, values) for signature, values in WRONG if signature != "".join(types))


def try_methods():
    client = Client()
    found = list(methods(client))
    for path, interface, member, types in found:
        for signature, values in calls_of(types):
            what = f"{interface}.{member} {signature} {str(values)[:60]}"
            client.call(what, path, interface, member, signature, values)
        for place, kind in enumerate(types):
            for value in BROKEN_STRINGS if kind == "s" else []:
                values = [value if i == place else DEFAULTS[one] for i, one in enumerate(types)]
                client.call(f"{interface}.{member} {value}", path, interface, member, "".join(types), values)
        for other in PATHS:
            client.call(f"{interface}.{member} at {other[:60]}", other, interface, member, "".join(types),
                        [DEFAULTS[one] for one in types])
    # sd-bus takes paths up to 64 KiB, and answers nothing to what has a longer one.
    client.bus.send(DESTINATION, "/org/cudanspawn1/machine/" + "x" * 65536, MANAGER, "Reload")
    for interface, member in ((MANAGER, "NoSuch"), ("org.nosuch", "Attach"), (None, "NoSuch"), (MANAGER, "x" * 255)):
        client.call(f"{interface}.{member}", "/org/cudanspawn1", interface, member, "", [])
    counts["methods"] = len(found)
    if len(found) < 25:
        problems.append(f"only {len(found)} methods were found")


# --- many, and gone --------------------------------------------------------------------------------------------------

MANY = [("Attach", "sa{sv}", ["trainer", {"wait": ("b", True)}]), ("Plan", "sa{sv}", ["trainer", {}]),
        ("Detach", "sa{sv}", ["nosuch", {}]), ("ListMachines", "", []), ("GetMachine", "s", ["nosuch"]),
        ("Reload", "", [])]


def flood():
    """Five connections with a hundred calls each under way at once."""
    clients, sent = [Bus(SLOWEST) for _ in range(5)], []
    for turn in range(100):
        for client in clients:
            member, signature, values = MANY[turn % len(MANY)]
            sent.append((client, member, client.send(DESTINATION, "/org/cudanspawn1", MANAGER, member,
                                                     signature=signature, values=values)))
    for client, member, serial in sent:
        judge(member, client.answer_to(serial))


def vanish():
    """Callers that are gone before their answer, and some that never wanted one."""
    for turn in range(100):
        client = Bus(SLOWEST)
        for member, signature, values in MANY:
            client.send(DESTINATION, "/org/cudanspawn1", MANAGER, member, signature=signature, values=values,
                        flags=NO_REPLY if turn % 2 else 0)
        client.close()
        count("vanished")


{"methods": try_methods, "flood": flood, "vanish": vanish}[sys.argv[1]]()
began = time.monotonic()
judge("Ping", Bus(SLOWEST).call(DESTINATION, "/org/cudanspawn1", "org.freedesktop.DBus.Peer", "Ping"))
if time.monotonic() - began > 2:
    problems.append(f"afterwards a Ping took {time.monotonic() - began:.1f} s")
print("\n".join(problems[:40]))
print(", ".join(f"{name}: {number}" for name, number in sorted(counts.items())))
sys.exit(1 if problems else 0)
