"""A model of the hub is named by an id and a revision."""

from __future__ import annotations

import pytest

from tasks.sections import TeacherSource


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"revision": "v1"}, "`revision` is of a repository of the hub: expected an id as `path`, not 'mini'"),
        ({"path": "weights/of/mine", "revision": "v1"}, "expected an id as `path`, not 'weights/of/mine'"),
        ({"path": "owner/model", "download": True}, "`download` has no effect without `revision`"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TeacherSource.model_validate(fields)
