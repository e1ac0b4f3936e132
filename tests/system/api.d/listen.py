"""Prints what the daemon signals, a line each, as anybody may hear it."""

from bus import Bus

bus = Bus(60)
bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", signature="s",
         values=["type='signal',sender='org.cudanspawn1'"])
print("ready", flush=True)
while True:
    member, path, values = bus.next_signal()
    print(member, path, values, flush=True)
