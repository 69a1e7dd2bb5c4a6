"""Numbers as people say them."""

from __future__ import annotations

_STEP_BYTES = 1000


def duration(seconds: float) -> str:
    """A time for people: 4.2 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int) -> str:
    """A number of bytes for people: 512 B, 1.3 GB."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < _STEP_BYTES:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= _STEP_BYTES
    return f"{amount:,.1f} TB"
