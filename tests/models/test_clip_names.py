"""open_clip's names are known without importing it."""

from __future__ import annotations

import subprocess
import sys

import open_clip
import pytest

from models.clip_names import architectures, check_architecture, check_tag, tags
from tests import ROOT


def test_they_are_open_clips_own() -> None:
    others = "config"  # which tests add, as they add NAME-clip
    own = [name for name in open_clip.list_models() if not name.endswith("-clip") and name != others]
    assert {*architectures()} == {*own} and len(own) > 100


def test_the_tags_are_open_clips_own() -> None:
    known = {name: {*open_clip.list_pretrained_tags_by_model(name)} for name in open_clip.list_models()}
    published = {name: found for name, found in known.items() if found}
    assert len(published) > 80
    for name, found in published.items():
        if name.endswith("-quickgelu"):
            assert found <= {*tags()[name]}
        else:
            assert found == {*tags()[name]}
    assert not {*tags()} & (known.keys() - published.keys() - {name for name in known if name.endswith("-quickgelu")})


def test_an_unknown_tag_is_told() -> None:
    check_tag("ViT-g-14", "laion2b_s34b_b88k")
    check_tag("ViT-S-32-alt", None)
    with pytest.raises(ValueError, match=r"clip tag 'openai': ViT-g-14 .* knows laion2b_s12b_b42k, laion2b_s34b_b88k"):
        check_tag("ViT-g-14", "openai")
    with pytest.raises(ValueError, match="open_clip knows none"):
        check_tag("ViT-S-32-alt", "openai")


def test_an_unknown_name_is_told_with_those_near_it() -> None:
    check_architecture("ViT-g-14")
    with pytest.raises(ValueError, match=r"'vit-g14': open_clip has no such one; nearest: ViT-g-14"):
        check_architecture("vit-g14")
    with pytest.raises(ValueError, match="nearest: none"):
        check_architecture("???")


def test_no_torch_is_needed() -> None:
    code = """
import sys
from models.clip_names import check_architecture
check_architecture("ViT-g-14")
assert not {"torch", "open_clip", "numpy"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
