"""What devices cost at this site. Prices stand in a file of the site's own, never in a recipe or a record."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field

from flows.server.local import state_folder
from infra.errors import UserError
from infra.recipe import Section, validated
from infra.recipe.yaml_file import read_mapping

FILE = "INSTAFLOW_SITE"
"""Variable that names the file; where it is not set, `site.yaml` beside Prefect's records is looked for."""
HOUR_S = 3600
_PER_HOUR = "/h"

Hourly = Annotated[str, Field(pattern=rf"^[0-9]+(?:\.[0-9]+)?{_PER_HOUR}$")]


class Use(Protocol):
    """Some time of a device, named as run records name it (`CPU`)."""

    @property
    def device(self) -> str | None:
        """Its name, where it is known."""

    @property
    def device_seconds(self) -> float | None:
        """How long it was used."""


class Site(Section):
    """A site's settings."""

    cost: dict[str, Hourly] = Field(
        default={},
        description="what an hour of one device costs, as `2.5/h`: of a `gpu`, of a `cpu`, or of devices that have this"
        " in their name (`H200`), which goes before",
    )
    currency: str = Field(default="", max_length=8, description="shown behind every amount")

    def price(self, device: str | None, device_s: float | None) -> float | None:
        """What so many seconds of a device cost; None where nobody says."""
        rate = self._rate(device or "")
        return None if rate is None or device_s is None else rate * device_s / HOUR_S

    def spent(self, uses: Iterable[Use]) -> float | None:
        """What they have cost together; None where there is no price for any of them."""
        known = [cost for one in uses if (cost := self.price(one.device, one.device_seconds)) is not None]
        return sum(known) if known else None

    def shown(self, amount: float | None) -> str:
        """An amount for people; empty for one that is not known."""
        return "" if amount is None else f"{amount:,.2f} {self.currency}".rstrip()

    def _rate(self, device: str) -> float | None:
        kind = "cpu" if device == "CPU" else "gpu"
        named = [name for name in self.cost if name not in ("cpu", "gpu") and name.lower() in device.lower()]
        told = self.cost.get(max(named, key=len) if named else kind)
        return None if told is None else float(told.removesuffix(_PER_HOUR))


def read_site() -> Site:
    """The site's settings; without a file none. Raises UserError naming file, field, value and what was expected."""
    named = os.environ.get(FILE)
    path = Path(named).expanduser() if named else state_folder() / "site.yaml"
    if not path.is_file():
        if named:
            raise UserError(f"{FILE}={named}: no such file. Name the file with this site's settings, or unset it.")
        return Site()
    return validated(Site, read_mapping(path), lambda _: str(path))
