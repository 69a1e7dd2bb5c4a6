"""What the forms of Prefect's pages have in common: an address without a secret, and what a store is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

_NO_SECRET = {"pattern": r"^(?!.*://[^/]*@)(?!.*://.*[?#])"}
"""Refused by the server, before it is written down."""

Public = Annotated[str, Field(json_schema_extra=_NO_SECRET)]
"""A text that a run's record repeats."""

STORE = "s3://BUCKET/PATH, or the absolute path of a folder that all workers share"
