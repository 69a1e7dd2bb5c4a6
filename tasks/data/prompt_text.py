"""When two prompts are the same, and in which order they are drawn."""

from __future__ import annotations

import sys
import unicodedata
from functools import cache
from hashlib import blake2b

from tasks.order import derive_seed

_BESIDE_WORDS = frozenset("ZPC")  # Unicode's separators, punctuation and control characters


def normalise(text: str) -> str:
    """Unicode NFC, white space folded: how a prompt is kept."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def folded(text: str) -> str:
    """The text up to case, spaces and punctuation: what counts as the same prompt.

    Letters of every script, their marks, digits and symbols stay; of a text without any, all of it.
    """
    if text.isascii():
        return text.lower().translate(_dropped()) or text
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())  # Unicode 3.13, D146
    return text.translate(_dropped()) or text


@cache
def _dropped() -> dict[int, None]:
    return {code: None for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] in _BESIDE_WORDS}


def order_key(seed: int) -> bytes:
    """The key of :func:`order` that belongs to a seed."""
    return derive_seed(seed, "prompts").to_bytes(8, "big")


def order(fold: str, key: bytes) -> int:
    """The place of a folded text among all that there could be: 64 bits that depend on nothing but text and key."""
    return int.from_bytes(blake2b(fold.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest(), "big")
