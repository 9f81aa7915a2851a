"""The one error class for mistakes that the user can mend."""


class UserError(ValueError):
    """A mistake in what the user gave: one line with the rule, the value and the cure.

    The command lines print it without a traceback and exit with status 2; everything
    else that is raised is a defect of the package and keeps its traceback.
    """


def require(condition: bool, message: str) -> None:
    """Raise ``UserError(message)`` unless ``condition`` holds."""
    if not condition:
        raise UserError(message)
