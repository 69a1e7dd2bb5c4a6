"""The one error that is the user's to mend."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake the user can mend.

    Its text names the file, the field, the value found, what was expected and the remedy; the command line
    prints it without a traceback and leaves with exit code 2.
    """
