"""Shards are ordinary tars: any reader gets the same arrays and prompts, and our offsets point at them."""

from __future__ import annotations

import io
import json
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.shards.shards import (
    IndexRow,
    QuarantineRow,
    Sample,
    read_index,
    read_quarantine,
    write_index,
    write_quarantine,
    write_shard,
)

AWKWARD = [
    "a \"quoted\" 'one'",
    "two\nlines\r\n",
    "🐈‍⬛ naïve",
    "שלום עולם",
    "x" * 10_000,
    "",
    "\x00\x1f",
    "a\tb\\c",
    "\u2028",
]


def samples(prompts: list[str], shape: tuple[int, ...] = (4, 8, 8), dtype: str = "float32") -> list[Sample]:
    random = np.random.default_rng(0)
    return [
        Sample(
            key=f"{index:09d}",
            noise=random.standard_normal(shape).astype(dtype),
            latent=random.standard_normal(shape).astype(dtype),
            prompt=prompt,
            seed=2**40 + index,
            index=index,
        )
        for index, prompt in enumerate(prompts)
    ]


def test_stock_webdataset_reads_the_same(tmp_path: Path) -> None:
    made = samples(AWKWARD)
    write_shard(tmp_path / "shard-000000.tar", made)
    read = [*webdataset.WebDataset(str(tmp_path / "shard-000000.tar"), shardshuffle=False).decode()]
    assert len(read) == len(made)
    for found, sample in zip(read, made, strict=True):
        assert found["__key__"] == sample.key
        assert found["noise.npy"].dtype == np.float32
        np.testing.assert_array_equal(found["noise.npy"], sample.noise)
        np.testing.assert_array_equal(found["latent.npy"], sample.latent)
        wanted = {"prompt": sample.prompt, "seed": sample.seed, "index": sample.index, "key": sample.key}
        assert found["json"] == wanted


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(max_size=50) | st.sampled_from(AWKWARD), max_size=5),
    st.sampled_from([(1,), (4, 8, 8), (3, 5, 7), (16, 1, 2)]),
    st.sampled_from(["float32", "float16", "float64"]),
)
def test_tar_and_index_keep_everything(tmp_path: Path, prompts: list[str], shape: tuple[int, ...], dtype: str) -> None:
    made, path = samples(prompts, shape, dtype), tmp_path / "s.tar"
    rows = write_shard(path, made)
    write_index(tmp_path / "index.parquet", rows)
    assert read_index(tmp_path / "index.parquet") == rows
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        members = {member.name: member for member in tar.getmembers()}
        assert len(members) == 3 * len(made)
        for row, sample in zip(rows, made, strict=True):
            provenance = tar.extractfile(members[f"{row.key}.json"])
            assert provenance is not None and json.load(provenance)["prompt"] == row.prompt == sample.prompt
            for name, offset, array in (
                ("noise", row.noise_offset, sample.noise),
                ("latent", row.latent_offset, sample.latent),
            ):
                content = tar.extractfile(members[f"{row.key}.{name}.npy"])
                assert content is not None
                np.testing.assert_array_equal(np.load(io.BytesIO(content.read()), allow_pickle=False), array)
                raw = np.frombuffer(data, row.dtype, array.size, offset).reshape(row.shape)
                np.testing.assert_array_equal(raw, array)


def test_the_bytes_are_a_function_of_the_samples(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = write_shard(tmp_path / name, samples(AWKWARD))
        write_index(tmp_path / f"{name}.parquet", rows)
        time.sleep(0.01)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_reader_that_is_strict_about_headers_agrees(tmp_path: Path) -> None:
    write_shard(tmp_path / "s.tar", samples(["a", "b"]))
    with tarfile.open(tmp_path / "s.tar", format=tarfile.USTAR_FORMAT, errorlevel=2) as tar:
        for member in tar.getmembers():
            assert (member.mode, member.uid, member.gid, member.mtime, member.isreg()) == (
                0o644,
                0,
                0,
                0,
                True,
            )
            rebuilt = member.tobuf(tarfile.USTAR_FORMAT)
            with (tmp_path / "s.tar").open("rb") as file:
                file.seek(member.offset)
                assert file.read(512) == rebuilt


def test_nothing_is_left_when_the_samples_stop(tmp_path: Path) -> None:
    def stopping() -> object:
        yield samples(["a"])[0]
        raise RuntimeError("solver died")

    with pytest.raises(RuntimeError, match="solver died"):
        write_shard(tmp_path / "s.tar", stopping())  # type: ignore[arg-type]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("key", ["a.b", "a/b", "", "ä", "x" * 81])
def test_a_key_webdataset_would_split_is_a_bug(tmp_path: Path, key: str) -> None:
    sample = samples(["a"])[0]
    other = Sample(key, sample.noise, sample.latent, "a", 0, 0)
    with pytest.raises(AssertionError):
        write_shard(tmp_path / "s.tar", [other])


def test_quarantine(tmp_path: Path) -> None:
    rows = [QuarantineRow(index, f"{index}", prompt, index, "nan") for index, prompt in enumerate(AWKWARD)]
    write_quarantine(tmp_path / "q.parquet", rows)
    assert read_quarantine(tmp_path / "q.parquet") == rows
    write_quarantine(tmp_path / "q.parquet", [])
    assert read_quarantine(tmp_path / "q.parquet") == []


def test_an_empty_shard_and_index(tmp_path: Path) -> None:
    rows: list[IndexRow] = write_shard(tmp_path / "s.tar", [])
    write_index(tmp_path / "i.parquet", rows)
    assert rows == [] == read_index(tmp_path / "i.parquet")
    with tarfile.open(tmp_path / "s.tar") as tar:
        assert tar.getmembers() == []
