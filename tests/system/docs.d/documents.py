#!/usr/bin/env python3
"""What the project's documents say that can be tried: commands, policies, links, names. docs.d/*.sh try it.

documents.py list                 the documents that have commands
documents.py commands DOCUMENT    its commands in order, as records: place, way, command, output; each field ends with NUL
documents.py policies             the policies in code blocks: place, text; each field ends with NUL

What a command is:
  Markdown   each line of an indented block and of one in a ```sh fence; in a ```console fence and in man pages what
             follows a prompt, "$ " or "# ", where lines without one are what the command before prints; in a table
             whose first column is "command" the code in that column. Other fences (```text, ```yaml) have none.
  machines/  lines of the comments that are indented, "#     COMMAND".
A backslash at a line's end continues it; " # " begins a remark. "# fails" says that the command fails.

The way is "run" (as it stands, with a real name for NAME), "instead" (the command is what the table `stand-ins` has in its
place) or "elsewhere" (nothing is run here)."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TABLE = Path(__file__).with_name("stand-ins")
PLACEHOLDERS = {"NAME": "trainer", "/PATH": "/usr/bin/env"}


def documents():
    return sorted(
        path.relative_to(ROOT)
        for pattern in ("README.md", "docs/**/*.md", "docs/*.scd", "machines/*")
        for path in ROOT.glob(pattern)
    )


def text_of(document):
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document):
    """Code blocks: language, number of the first line, lines. Indented ones have the language "sh"."""
    lines = text_of(document).splitlines()
    indent, language, begin, found = "    ", None, 0, []
    if document.suffix == ".yaml":
        lines, indent = [line[1:] if line.startswith("#") else "" for line in lines], "     "
    for number, line in enumerate([*lines, ""], 1):
        if line.startswith("```"):
            if language is None:
                language, begin, found = line[3:].strip() or "text", number + 1, []
            else:
                yield language, begin, found
                language, found = None, []
        elif language is not None:
            found.append(line)
        elif document.suffix in (".md", ".yaml"):
            if line.startswith(indent):
                begin = begin if found else number
                found.append(line[len(indent):])
            elif found:
                yield "sh", begin, found
                found = []


def split_cells(row):
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def table_commands(document):
    in_table = False
    for number, line in enumerate(text_of(document).splitlines(), 1):
        if not line.startswith("|"):
            in_table = False
        elif split_cells(line)[0] == "command":
            in_table = True
        elif in_table:
            for command in re.findall(r"`([^`]+)`", split_cells(line)[0]):
                yield number, command, []


def block_commands(language, begin, lines, is_page):
    """Line, command, output."""
    prompt = re.compile(r"[$#] ") if is_page or language == "console" else None
    found, open_line = [], False
    for number, line in enumerate(lines, begin):
        if open_line:
            found[-1][1] = found[-1][1][:-1].rstrip() + " " + line.strip()
        elif prompt is None and line.strip() and not line.startswith("#"):
            found.append([number, line.strip(), []])
        elif prompt and prompt.match(line):
            found.append([number, line[2:].strip(), []])
        elif prompt and found and line.strip():
            found[-1][2].append(line)
            continue
        else:
            continue
        open_line = line.endswith("\\")
    return found


def commands(document):
    """Line, command, output, in the document's order."""
    is_page = document.suffix == ".scd"
    found = []
    if document.suffix == ".md":
        found += table_commands(document)
    for language, begin, lines in blocks(document):
        if language in ("sh", "console") or is_page:
            found += block_commands(language, begin, lines, is_page)
    return sorted(found, key=lambda entry: entry[0])


def without_remark(command):
    return re.split(r"\s+# ", command)[0]


def stand_ins():
    """By command: {"why": text, "by": [suite/case], "do": [command]}."""
    table = {}
    for number, line in enumerate(TABLE.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, _, value = line.strip().partition(": ")
        if not line.startswith(" "):
            entry = table.setdefault(line, {"line": number, "why": "", "by": [], "do": []})
        elif key == "why":
            entry["why"] = value
        elif key in ("by", "do"):
            entry[key].append(value)
        else:
            sys.exit(f"{TABLE.name}:{number}: neither why, by nor do: {line}")
    return table


def print_commands(document):
    table = stand_ins()
    for line, command, output in commands(document):
        entry, way = table.get(without_remark(command)), "run"
        if entry is None:
            shown = without_remark(command)
            for name, value in PLACEHOLDERS.items():
                shown = re.sub(re.escape(name) + r"\b", value, shown)
            shown += " # fails" if command.endswith("# fails") else ""
        else:
            way, shown = ("instead", "\n".join(entry["do"])) if entry["do"] else ("elsewhere", without_remark(command))
        print(f"{document}:{line}", way, shown, "\n".join(output), sep="\0", end="\0")


def print_policies():
    for document in documents():
        for language, begin, lines in blocks(document):
            if language == "yaml" or document.suffix == ".scd" and lines and lines[0].startswith("gpus:"):
                if re.match(r"gpus:|# /etc/cuda-nspawn/machines/", lines[0]):
                    print(f"{document}:{begin}", "\n".join(lines), sep="\0", end="\0")


def main(arguments):
    match arguments:
        case ["list"]:
            print(*(document for document in documents() if commands(document)), sep="\n")
        case ["commands", document] if Path(document) in documents():
            print_commands(Path(document))
        case ["policies"]:
            print_policies()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
