"""The one kind of error that a user can mend: a sentence, not a traceback."""

__all__ = ["UserError"]


class UserError(ValueError):
    """Something the user gave is wrong; the message is one sentence: what came, what was wanted."""
