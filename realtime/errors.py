"""The one exception that a user ever sees: a sentence, never a traceback."""

__all__ = ["UserError"]


class UserError(ValueError):
    """What came, what was wanted and the likely slip, in one sentence. Exit code 2."""
