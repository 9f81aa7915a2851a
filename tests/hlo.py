"""Reads the text of compiled programs."""

import re
from collections.abc import Sequence


def computations(text: str) -> dict[str, list[str]]:
    """The instructions of each computation of an HLO module, by its name."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        head = re.match(r"^(?:ENTRY )?%?([\w.-]+) .*\{$", line)
        if head:
            lines = found.setdefault(head[1], [])
        elif line.startswith("}"):
            lines = []
        else:
            lines.append(line.strip())
    return found


def loop_bodies(text: str) -> list[str]:
    """Names of the computations that loops run, those they call included."""
    found = computations(text)
    pending = re.findall(r"body=%?([\w.-]+)", text)
    reached: list[str] = []
    while pending:
        name = pending.pop()
        if name in reached or name not in found:
            continue
        reached.append(name)
        pending += re.findall(
            r"(?:calls|to_apply|body|condition)=%?([\w.-]+)", "\n".join(found[name])
        )
    return reached


def copies_in_loops(text: str, shapes: Sequence[Sequence[int]]) -> list[str]:
    """The copies of arrays of these float32 shapes that happen inside loops."""
    found = computations(text)
    wanted = {"f32[" + ",".join(map(str, shape)) + "]" for shape in shapes}
    copies = []
    for name in loop_bodies(text):
        for line in found[name]:
            match = re.search(r"= \(?(f32\[[\d,]*\])\S* (copy|copy-start)\(", line)
            if match and match[1] in wanted:
                copies.append(line)
    return copies
