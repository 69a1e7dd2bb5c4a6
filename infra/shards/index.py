"""The index of an artifact's pairs, mapped: where each lies, and what it was drawn from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from infra.artifact import Artifact
from infra.artifact.mapped import ROWS, Rows, mapped
from infra.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Ids = npt.NDArray[np.integer]
_FILE = "index.parquet"
_FORM = "pairs-1"
_ROW = ["key", "prompt", "noise_offset", "latent_offset"]
_LAYOUT = b"instaflow.layout"


@dataclass(frozen=True)
class PairIndex:
    """The rows of ``index.parquet`` by position; they share one dtype and shape [C, H, W].

    Rows of one shard stand together: `shards` names it for each such stretch, `ends` says where the stretch ends.
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    shards: list[str]
    ends: npt.NDArray[np.int64]
    _rows: pa.Table

    @classmethod
    def open(cls, artifact: Artifact) -> PairIndex:
        """The index of `artifact`. Raises UserError for no pairs and for several dtypes or shapes, StoreError."""
        rows = mapped(artifact, _FILE, _FORM, lambda file: _mapped_rows(artifact, file))
        told = json.loads(rows.schema.metadata[_LAYOUT])
        shards, counts = zip(*told["stretches"], strict=True)
        return cls(np.dtype(told["dtype"]), tuple(told["shape"]), [*shards], np.cumsum(counts), rows)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def stretches(self, ids: Ids) -> npt.NDArray[np.int64]:
        """The number of the stretch that each row is of, [N]."""
        return np.searchsorted(self.ends, ids, side="right")

    def offsets(self, ids: Ids) -> list[tuple[int, int]]:
        """Where noise and latent of each row begin in their shard, bytes."""
        return [*zip(self._values("noise_offset", ids), self._values("latent_offset", ids), strict=True)]

    def prompts(self, ids: Ids) -> list[str]:
        """The prompt of each row."""
        return self._values("prompt", ids)

    def keys(self, ids: Ids) -> list[str]:
        """The key of each row."""
        return self._values("key", ids)

    def _values(self, name: str, ids: Ids) -> list[Any]:
        column = self._rows[name]
        return [column[row].as_py() for row in ids.tolist()]


def _mapped_rows(artifact: Artifact, file: pq.ParquetFile) -> Rows:
    """What is mapped: the columns that differ from row to row, and in the schema what many rows share."""
    import pyarrow as pa

    layout = {**_one_layout(artifact, file), "stretches": _stretches(file)}
    schema = pa.schema([file.schema_arrow.field(name) for name in _ROW], {_LAYOUT: json.dumps(layout)})
    return schema, (batch.cast(schema) for batch in file.iter_batches(ROWS, columns=_ROW))


def _one_layout(artifact: Artifact, file: pq.ParquetFile) -> dict[str, object]:
    import pyarrow as pa
    import pyarrow.compute as pc

    dtypes, shapes = dict[str, None](), dict[str, None]()
    for batch in file.iter_batches(ROWS, columns=["dtype", "shape"]):
        dtypes |= dict.fromkeys(batch["dtype"].unique().to_pylist())
        shapes |= dict.fromkeys(pc.binary_join(batch["shape"].cast(pa.list_(pa.string())), ",").unique().to_pylist())
    if not dtypes:
        raise UserError(f"{artifact.uri}: {_FILE}: no pairs; expected some. See why in quarantine.parquet.")
    shape = tuple(map(int, next(iter(shapes)).split(",")))
    if len(dtypes) > 1 or len(shapes) > 1:
        raise UserError(
            f"{artifact.uri}: {_FILE}: found {', '.join(dtypes)} and shapes other than {shape}, expected one kind. The"
            " pairs come from different models: make them again with one."
        )
    return {"dtype": next(iter(dtypes)), "shape": shape}


def _stretches(file: pq.ParquetFile) -> list[tuple[str, int]]:
    """Which shard so many rows in a row are of."""
    import pyarrow.compute as pc

    found: list[tuple[str, int]] = []
    for batch in file.iter_batches(ROWS, columns=["shard"]):
        runs = pc.run_end_encode(batch["shard"])
        counts = np.diff(runs.run_ends.to_numpy(), prepend=0).tolist()
        found += zip(runs.values.to_pylist(), counts, strict=True)
    return [(shard, sum(count for _, count in runs)) for shard, runs in groupby(found, key=lambda run: run[0])]
