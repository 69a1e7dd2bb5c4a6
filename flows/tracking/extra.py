"""Libraries that only some teams have: each comes with the extra of its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from infra.errors import UserError


@contextmanager
def of_extra(name: str) -> Iterator[None]:
    """What is imported in the block comes with an extra. Raises UserError, which names it, where it is not there."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{name}: its library is not installed here ({error.name or error} is missing). Install it:"
            f" pip install 'instaflow[{name}]'"
        ) from error
