"""call.py PATH INTERFACE METHOD TYPES [MACHINE]: one call, without options, that asks nobody for a password. Prints the
error's name and text, which busctl replaces by its own words."""

import sys

from bus import Bus, types_in

path, interface, method, types, *machine = sys.argv[1:]
values = [{"s": (machine or [""])[0], "a{sv}": {}}[one] for one in types_in(types)]
answer = Bus().call("org.cudanspawn1", path, interface, method, signature=types, values=values)
print(f"{answer.error}: {answer.text}" if answer.error else "done")
