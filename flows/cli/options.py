"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_STORE = "store"
StoreUrl = Annotated[str, typer.Option("--store", envvar="INSTAFLOW_STORE", help="a folder or s3://BUCKET/PATH")]
