"""Reads the text of compiled programs."""

import re
from collections.abc import Sequence

CALLED = (
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.-]+)"
)
BRANCHES = r"branch_computations=\{([^}]*)\}"


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


def loop_bodies(text: str, innermost: bool = False) -> list[str]:
    """Names of the computations that loops run, those they call included.

    ``innermost``: only of loops that hold no other loop.
    """
    found = computations(text)
    reached: list[str] = []
    for body in re.findall(r"body=%?([\w.-]+)", text):
        called = _called(found, body)
        nested = any("body=" in line for name in called for line in found[name])
        if not (innermost and nested):
            reached += called
    return sorted(set(reached))


def _called(found: dict[str, list[str]], name: str) -> list[str]:
    """A computation and all that it calls."""
    pending, reached = [name], []
    while pending:
        name = pending.pop()
        if name in reached or name not in found:
            continue
        reached.append(name)
        pending += re.findall(CALLED, "\n".join(found[name]))
        for branches in re.findall(BRANCHES, "\n".join(found[name])):
            pending += re.findall(r"[\w.-]+", branches)
    return reached


def copies_in_loops(
    text: str, shapes: Sequence[Sequence[int]], innermost: bool = False
) -> list[str]:
    """The copies of arrays of these float32 shapes that happen inside loops."""
    found = computations(text)
    wanted = {"f32[" + ",".join(map(str, shape)) + "]" for shape in shapes}
    copies = []
    for name in loop_bodies(text, innermost):
        for line in found[name]:
            match = re.search(r"= \(?(f32\[[\d,]*\])\S* (copy|copy-start)\(", line)
            if match and match[1] in wanted:
                copies.append(line)
    return copies
