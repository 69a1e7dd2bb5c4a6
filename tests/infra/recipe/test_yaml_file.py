"""YAML as people write it: 1e-4 is a number, a repeated key a mistake, and every error says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import UserError
from infra.recipe.yaml_file import parse_yaml, read_mapping, shown


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_a_file_is_a_mapping(tmp_path: Path) -> None:
    assert read_mapping(written(tmp_path, "a: {b: [1, null, true, x]}")) == {"a": {"b": [1, None, True, "x"]}}


@pytest.mark.parametrize("text", ["", "3", "- a", "1: 2", "true: 1"])
def test_no_mapping_of_sections(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"mine\.yaml: expected a mapping of recipe sections at the top, found"):
        read_mapping(written(tmp_path, text))


def test_a_missing_file_says_where_paths_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        read_mapping(Path("absent.yaml"))
    assert str(caught.value) == f"absent.yaml: no such recipe file. Check the path; it starts at {tmp_path}."


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the recipe: Is a directory\. Expected a YAML file"):
        read_mapping(tmp_path)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: é".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.yaml: byte 6 is not UTF-8\. Save the recipe as UTF-8 text"):
        read_mapping(path)


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4", "+1e-4", "1_0e-5"])
def test_a_number_is_a_number_however_written(text: str) -> None:
    # plain YAML 1.1 reads 1e-4 as text
    assert parse_yaml(text, "x") == 1e-4 and isinstance(parse_yaml(text, "x"), float)


@pytest.mark.parametrize("text", ["010", "-010", "1:30", "1:30.5", "00", "yes", "No", "on", "OFF", "y", "0o10"])
def test_what_other_readers_take_for_another_number_or_a_truth_value_is_a_word(text: str) -> None:
    # plain YAML 1.1 reads 010 as 8, 1:30 as 90 and no as false
    assert parse_yaml(f"a: {text}", "x") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("-7", -7), ("+3", 3), ("1_600_000", 1_600_000), ("0x1F", 31), ("true", True), ("FALSE", False),
        ("0.5", 0.5), (".5", 0.5), ("5.", 5.0), ("-1.5e+3", -1500.0), (".inf", float("inf")), ("null", None),
    ],
)  # fmt: skip
def test_plain_values_are_those_of_yaml(text: str, value: object) -> None:
    found = parse_yaml(text, "x")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["[" * 3000 + "]" * 3000, "{a: " * 3000 + "1" + "}" * 3000])
def test_what_is_nested_too_deeply_is_told_in_words(text: str) -> None:
    with pytest.raises(UserError, match=r"^here: nested too deeply\. Expected a mapping of sections"):
        parse_yaml(text, "here")


@pytest.mark.parametrize("text", ["e4", "1e", "1e-4x", "'1e-4'", "v1e4"])
def test_a_word_with_an_e_is_none(text: str) -> None:
    assert parse_yaml(text, "x") == text.strip("'")


@pytest.mark.parametrize(
    ("text", "key"), [("a: 1\nb: 2\na: 3", "'a'"), ("x: {a: 1, a: 1}", "'a'"), ("1: 2\n1: 3", "1")]
)
def test_a_repeated_key_is_a_mistake_at_any_depth(text: str, key: str) -> None:
    with pytest.raises(UserError, match=rf"^here: line \d, column \d+: no valid YAML: the key {key} is given twice\.$"):
        parse_yaml(text, "here")


def test_what_an_anchor_brings_may_be_said_otherwise() -> None:
    found = parse_yaml("one: &one {a: 1, b: 2}\ntwo: {<<: *one, b: 3}", "x")
    assert found == {"one": {"a": 1, "b": 2}, "two": {"a": 1, "b": 3}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "here: line 1, column 5: no valid YAML"),
        ("a: 1\n b: 2", "here: line 2, column 3: no valid YAML: mapping values are not allowed here."),
        ("a: \x01", "here: no valid YAML"),
        ("a: !!python/object:os.system 1", "here: line 1, column 4: no valid YAML: could not determine a constructor"),
        ("a: 2026-13-01", "here: no valid YAML: month must be in 1..12."),
        ("a: *nowhere", "here: line 1, column 4: no valid YAML: found undefined alias 'nowhere'."),
    ],
)
def test_broken_yaml_says_where(text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "here")
    assert str(caught.value).startswith(expected)


def test_a_value_is_shown_in_80_characters() -> None:
    assert shown("x" * 78) == repr("x" * 78) and len(shown("x" * 79)) == 80
    assert shown([*range(1000)]) == repr([*range(1000)])[:77] + "..."
