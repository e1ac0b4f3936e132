"""D-Bus by hand (the specification's wire format), so that a test can send what no library would."""

import os
import socket
import struct

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY, INTERACTIVE = 1, 4
FIXED = {"y": ("B", 1), "b": ("I", 4), "n": ("h", 2), "q": ("H", 2), "i": ("i", 4), "u": ("I", 4), "x": ("q", 8),
         "t": ("Q", 8), "d": ("d", 8)}
ALIGNMENT = {"s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8}


def first_type(signature):
    """The first complete type of a signature."""
    if signature[0] == "a":
        return "a" + first_type(signature[1:])
    if signature[0] not in "({":
        return signature[0]
    depth = 0
    for place, letter in enumerate(signature):
        depth += (letter in "({") - (letter in ")}")
        if depth == 0:
            return signature[:place + 1]
    raise ValueError(signature)


def types_in(signature):
    while signature:
        one = first_type(signature)
        yield one
        signature = signature[len(one):]


def align(data, boundary):
    data.extend(b"\0" * (-len(data) % boundary))


def append(data, kind, value):
    """Strings may be bytes, which are not checked; a dictionary may be a list of pairs; a variant is (type, value)."""
    letter = kind[0]
    if letter in FIXED:
        form, size = FIXED[letter]
        align(data, size)
        data.extend(struct.pack("<" + form, value))
    elif letter in "sog":
        text = value if isinstance(value, bytes) else value.encode()
        align(data, ALIGNMENT[letter])
        data.extend(struct.pack("<B" if letter == "g" else "<I", len(text)) + text + b"\0")
    elif letter == "v":
        append(data, "g", value[0])
        append(data, value[0], value[1])
    elif letter == "a":
        element = kind[1:]
        align(data, 4)
        place = len(data)
        data.extend(b"\0\0\0\0")
        align(data, FIXED[element[0]][1] if element[0] in FIXED else ALIGNMENT[element[0]])
        begin = len(data)
        if element == "y":
            data.extend(value)
        else:
            for one in value.items() if isinstance(value, dict) else value:
                append(data, element, one)
        struct.pack_into("<I", data, place, len(data) - begin)
    else:
        align(data, 8)
        for one, part in zip(types_in(kind[1:-1]), value):
            append(data, one, part)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def align(self, boundary):
        self.at += -self.at % boundary

    def read(self, kind):
        letter = kind[0]
        if letter in FIXED:
            form, size = FIXED[letter]
            self.align(size)
            self.at += size
            return struct.unpack_from("<" + form, self.data, self.at - size)[0]
        if letter in "sog":
            length = self.read("y" if letter == "g" else "u")
            self.at += length + 1
            return self.data[self.at - length - 1:self.at - 1].decode()
        if letter == "v":
            return self.read(self.read("g"))
        if letter == "a":
            length = self.read("u")
            element = kind[1:]
            self.align(FIXED[element[0]][1] if element[0] in FIXED else ALIGNMENT[element[0]])
            end, values = self.at + length, []
            while self.at < end:
                values.append(self.read(element))
            return dict(values) if element[0] == "{" else values
        self.align(8)
        return tuple(self.read(one) for one in types_in(kind[1:-1]))


class Answer:
    def __init__(self, error, values):
        self.error, self.values = error, values      # the error's name, or nothing

    @property
    def text(self):
        return self.values[0] if self.values and isinstance(self.values[0], str) else ""


class Disconnected(Exception):
    """The bus ended the connection, as it does with who breaks its rules."""


class Bus:
    def __init__(self, timeout=20):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect("/run/dbus/system_bus_socket")
        self.socket.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        assert self.socket.recv(512).startswith(b"OK ")
        self.socket.sendall(b"BEGIN\r\n")
        self.serial, self.buffer, self.answers, self.signals = 0, b"", {}, []
        driver = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
        self.name = self.call(*driver, "Hello").values[0]

    def send(self, destination, path, interface, member, signature="", values=(), flags=0):
        """Returns the serial."""
        body = bytearray()
        for kind, value in zip(types_in(signature), values):
            append(body, kind, value)
        self.serial += 1
        fields = [(1, ("o", path)), (3, ("s", member)), (6, ("s", destination))]
        if interface:
            fields.append((2, ("s", interface)))
        if signature:
            fields.append((8, ("g", signature)))
        message = bytearray(struct.pack("<BBBBII", ord("l"), CALL, flags, 1, len(body), self.serial))
        append(message, "a(yv)", fields)
        align(message, 8)
        try:
            self.socket.sendall(message + body)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Disconnected from error
        return self.serial

    def answer_to(self, serial):
        while serial not in self.answers:
            self._read()
        return self.answers.pop(serial)

    def call(self, *arguments, **options):
        return self.answer_to(self.send(*arguments, **options))

    def next_signal(self):
        """Its member, path and values."""
        while not self.signals:
            self._read()
        return self.signals.pop(0)

    def close(self):
        self.socket.close()

    def _take(self, count):
        while len(self.buffer) < count:
            try:
                more = self.socket.recv(1 << 20)
            except ConnectionResetError as error:
                raise Disconnected from error
            if not more:
                raise Disconnected
            self.buffer += more
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def _read(self):
        head = self._take(16)
        kind, (length, _, fields_length) = head[1], struct.unpack_from("<III", head, 4)
        rest = self._take(fields_length + -fields_length % 8 + length)
        fields = {}
        # Alignment counts from the begin of the message.
        whole = Reader(head + rest)
        whole.at = 12
        for code, value in whole.read("a(yv)"):
            fields[code] = value
        whole.align(8)
        body = Reader(whole.data[whole.at:])
        values = [body.read(one) for one in types_in(fields.get(8, ""))]
        if kind == SIGNAL:
            self.signals.append((fields[3], fields[1], values))
        if kind not in (RETURN, ERROR):
            return
        self.answers[fields[5]] = Answer(fields[4] if kind == ERROR else None, values)
