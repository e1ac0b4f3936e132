"""truth.py XML OBJECT…: what GetManagedObjects answered (busctl --json=short, on standard input) has every object below
the root that busctl shows, those given among them, and of each interface every property."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

found = json.load(sys.stdin)["data"][0]
properties = {interface.get("name"): {one.get("name"): one.get("type") for one in interface.findall("property")}
              for interface in ElementTree.parse(sys.argv[1]).getroot().iter("interface")}
paths = subprocess.run(["busctl", "tree", "--list", "org.cudanspawn1"], check=True, capture_output=True,
                       text=True).stdout.split()
expected = {path for path in paths if path.startswith("/org/cudanspawn1/") and path.count("/") == 4}

problems = [f"not in the answer: {path}" for path in sorted((expected | set(sys.argv[2:])) - set(found))]
problems += [f"only in the answer: {path}" for path in sorted(set(found) - expected)]
for path, interfaces in found.items():
    kind = path.split("/")[3].capitalize()
    values = interfaces.get(f"org.cudanspawn1.{kind}", {})
    shown = {name: value["type"] for name, value in values.items()}
    if shown != properties[f"org.cudanspawn1.{kind}"]:
        problems.append(f"{path}: {shown}")
print("\n".join(problems))
sys.exit(1 if problems else 0)
