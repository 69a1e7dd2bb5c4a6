"""Identity: what changes a fingerprint and what must not."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.artifact.fingerprint import canonical_json, fingerprint, sha256_bytes, sha256_file, tree_digest, tree_files
from infra.errors import UserError

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
configs = st.dictionaries(st.text(), values, max_size=6)


def shuffled(value: object, random: object) -> object:
    """The same value with the keys of every mapping in another order."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)  # type: ignore[attr-defined]
        return {key: shuffled(value[key], random) for key in keys}
    return [shuffled(item, random) for item in value] if isinstance(value, list) else value


@given(configs, st.randoms())
def test_key_order_does_not_matter(config: dict[str, object], random: object) -> None:
    other = shuffled(config, random)
    assert isinstance(other, dict)
    assert canonical_json(config) == canonical_json(other)
    assert fingerprint("pairs", 1, config, {"a": "x", "b": "y"}) == fingerprint("pairs", 1, other, {"b": "y", "a": "x"})


@given(values)
def test_canonical_json_keeps_the_value(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.text(min_size=1), st.integers(0, 99), configs, st.text())
def test_every_part_matters(stage: str, version: int, config: dict[str, object], digest: str) -> None:
    inputs = {"teacher": digest}
    prints = {
        fingerprint(stage, version, config, inputs),
        fingerprint(stage + "x", version, config, inputs),
        fingerprint(stage, version + 1, config, inputs),
        fingerprint(stage, version, {**config, "new": 1}, inputs),
        fingerprint(stage, version, config, {"teacher": digest + "x"}),
        fingerprint(stage, version, config, {"student": digest}),
    }
    assert len(prints) == 6


def test_nan_has_no_identity() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_file_hash_is_the_content_hash(tmp_path: Path, size: int) -> None:
    data = bytes(index % 251 for index in range(size))
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a") == sha256_bytes(data) == hashlib.sha256(data).hexdigest()


def test_tree_digest_sees_names_and_contents_only(tmp_path: Path) -> None:
    for root, order in (("one", ["b/c", "a"]), ("two", ["a", "b/c"])):
        for name in order:
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    first = tree_digest(tmp_path / "one")
    assert first == tree_digest(tmp_path / "two")
    (tmp_path / "two/a").rename(tmp_path / "two/d")
    assert first != tree_digest(tmp_path / "two")
    (tmp_path / "two/d").rename(tmp_path / "two/a")
    (tmp_path / "two/a").write_text("other")
    assert first != tree_digest(tmp_path / "two")


def placed(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


TEACHER = (
    "model_index.json",
    "unet/config.json",
    "unet/weights.bin",
    ".hidden/x",
    ".dot",
    "unet/a b/\u00fc.txt",
    "unet-2/z",
)


def test_the_digest_of_a_tree_without_links_is_what_it_was(tmp_path: Path) -> None:
    root = placed(tmp_path / "teacher", *TEACHER)
    (root / "empty").mkdir()
    assert tree_digest(root) == "5053bb4efa69067db37c2bfb2bc1179bc08ac8ce64a81e922b7a33910b37afc0"
    (root / "link.bin").symlink_to("unet/weights.bin")
    assert tree_digest(root) == "e419dec4e217ce955a356d538f52523e83494c6c3fadb917eb844e760752c35e"


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    """As hub caches make them: the same digest as that of a copy, and another one with other weights."""
    plain, linked = placed(tmp_path / "plain", *TEACHER), placed(tmp_path / "linked", *TEACHER)
    (linked / "unet").rename(tmp_path / "blobs")
    (linked / "unet").symlink_to("../blobs")
    (tmp_path / "called").symlink_to(linked)
    assert tree_digest(plain) == tree_digest(linked) == tree_digest(tmp_path / "called")
    assert [*tree_files(linked)] == sorted(TEACHER)
    (tmp_path / "blobs" / "weights.bin").write_text("other")
    assert tree_digest(plain) != tree_digest(linked)


def test_a_folder_that_is_linked_twice_is_there_twice(tmp_path: Path) -> None:
    root = placed(tmp_path / "teacher", "shared/x")
    (root / "one").symlink_to("shared")
    (root / "inner").mkdir()
    (root / "inner" / "two").symlink_to("../shared")
    assert [*tree_files(root)] == ["inner/two/x", "one/x", "shared/x"]


@pytest.mark.parametrize(
    ("link", "target", "named"),
    [("a/up", "..", "a/up"), ("a/x", ".", "a/x"), ("a/x", "../../beside", "a/x/back"), ("a/x", "x", "a/x")],
)
def test_links_in_a_circle_are_refused_by_name(tmp_path: Path, link: str, target: str, named: str) -> None:
    root = placed(tmp_path / "teacher", "a/1")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "back").symlink_to(root)
    (root / link).symlink_to(target)
    with pytest.raises(UserError, match=f"^{root / named}: this link leads to .* Remove it"):
        tree_digest(root)


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    root = placed(tmp_path / "teacher", "a")
    (root / "nowhere").symlink_to("absent")
    os.mkfifo(root / "pipe")
    assert [*tree_files(root)] == ["a"]
