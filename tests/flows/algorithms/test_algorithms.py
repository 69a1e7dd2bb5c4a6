"""An algorithm is found by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

import flows.algorithms
from flows.algorithms import DEFAULT, algorithms, find_algorithm
from infra.errors import UserError


def test_there_is_one_for_each_file() -> None:
    assert algorithms() == ["evaluation", "instaflow", "miniature"] and DEFAULT in algorithms()


@pytest.mark.parametrize("name", algorithms())
def test_it_has_the_name_of_its_file_and_a_sentence(name: str) -> None:
    found = find_algorithm(name, "here")
    assert found.name == name and found.does and not found.does.endswith(".")
    assert (Path(flows.algorithms.__file__).parent / f"{name}.py").is_file()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("instaflw", " Did you mean instaflow?"),
        ("chain", ""),  # a file of the folder that is no algorithm
        ("algorithm", ""),
        ("", ""),
        (3, ""),
        (None, ""),
        (["instaflow"], " Did you mean instaflow?"),
    ],
)
def test_an_unknown_one_is_refused_with_where_and_the_nearest(name: object, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        find_algorithm(name, "mine.yaml")
    assert str(caught.value) == (
        f"mine.yaml: algorithm: found {name!r}, expected one of evaluation, instaflow, miniature.{hint}"
    )
