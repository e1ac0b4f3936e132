"""introspection.py XML PATH…: the installed interfaces are those that the objects show, both ways."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

CHANGES = "org.freedesktop.DBus.Property.EmitsChangedSignal"


def members(node):
    """Each member of our interfaces as a line that has all there is to it."""
    for interface in node.iter("interface"):
        if not interface.get("name").startswith("org.cudanspawn1."):
            continue
        yield interface.get("name")
        for member in interface:
            if member.tag not in ("method", "signal", "property"):
                continue
            words = [interface.get("name"), member.tag, member.get("name")]
            for arg in member.findall("arg"):
                words += [arg.get("name"), arg.get("type"),
                          arg.get("direction", "in") if member.tag == "method" else ""]
            if member.tag == "property":
                annotations = {one.get("name"): one.get("value") for one in member.findall("annotation")}
                words += [member.get("type"), member.get("access"), annotations.get(CHANGES, "true")]
            yield " ".join(words)


installed = set(members(ElementTree.parse(sys.argv[1]).getroot()))
live = set()
for path in sys.argv[2:]:
    shown = subprocess.run(["busctl", "introspect", "--xml-interface", "org.cudanspawn1", path], check=True,
                           capture_output=True, text=True).stdout
    live |= set(members(ElementTree.fromstring(shown)))
for line in sorted(installed ^ live):
    print("only in the XML:" if line in installed else "only live:", line)
print(len(installed & live), "members")
sys.exit(installed != live)
