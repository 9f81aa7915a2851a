"""The one error class for mistakes that the user can mend."""

LONGEST = 2000
"""Letters of a message; of a longer one the middle is left out."""


class UserError(ValueError):
    """A mistake in what the user gave: one line with the rule, the value and the cure.

    The command lines print it without a traceback and exit with status 2; everything
    else that is raised is a defect of the package and keeps its traceback.
    """

    def __init__(self, message: str):
        super().__init__(_one_line(message))


def _one_line(message: str) -> str:
    """The message with what would break a line, or a terminal, spelt out."""
    # Names of files may hold any letters, those that no encoding has among them.
    shown = "".join(x if x.isprintable() else ascii(x)[1:-1] for x in message)
    if len(shown) <= LONGEST:
        return shown
    return f"{shown[: LONGEST // 2]} ... {shown[-LONGEST // 2 :]}"


def require(condition: bool, message: str) -> None:
    """Raise ``UserError(message)`` unless ``condition`` holds."""
    if not condition:
        raise UserError(message)
