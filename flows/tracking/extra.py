"""Libraries that only some teams have: each comes with the extra of its name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from infra.errors import UserError


@contextmanager
def of_extra(name: str, quiet: Mapping[str, str] = {}) -> Iterator[None]:
    """What is imported in the block comes with an extra, and finds variables that keep it quiet set unless they are.

    Raises UserError, which names the extra, where it is not there.
    """
    for variable, value in quiet.items():
        os.environ.setdefault(variable, value)
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{name}: its library is not installed here ({error.name or error} is missing). Install it:"
            f" pip install 'instaflow[{name}]'"
        ) from error
