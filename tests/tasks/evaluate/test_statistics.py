"""What the judges see of a picture, with a real CLIP and a real attribute reader."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from models.clip import cosine
from models.mini.captions import caption
from models.mini.render import render
from models.mini.scene import draw_scene, generator
from tasks.evaluate.statistics import STATISTICS, Judges, Seen, clip_scores, hits
from tests.models.untrained import captions


def pictures(count: int) -> Tensor:
    """Pictures of scenes, uint8 [B, 3, 32, 32]."""
    drawn = [render(draw_scene(generator(0, index), held_out=False)) for index in range(count)]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)


def seen(judges: Judges, shown: Tensor, prompts: list[str]) -> Seen:
    return Seen.of(judges, shown, prompts, judges.read(prompts))


def test_every_network_looks_once(judges: Judges) -> None:
    shown, calls = pictures(3), list[int]()

    def other(found: Tensor) -> Tensor:
        calls.append(len(found))
        return found.flatten(1).float()

    both = replace(judges, features={"features": other, "dinov2": other})
    found = both.look(shown, "features", "dinov2", "image")
    assert calls == [3] and found["features"] is found["dinov2"] and found["features"].shape == (3, 3 * 32 * 32)
    assert found["image"].equal(judges.clip.image_features(shown))
    assert judges.look(shown, "features")["features"].equal(found["image"]), "the CLIP's own"
    assert both.look(shown, "image").keys() == {"image"} and calls == [3], "who is not asked does not look"


def test_a_clip_score_is_the_cosine_of_picture_and_prefixed_prompt(judges: Judges) -> None:
    shown, prompts = pictures(3), captions(3)
    prefixed = replace(judges, prompt_prefix="a picture of ")
    expected = cosine(
        judges.clip.image_features(shown), judges.clip.text_features([f"a picture of {text}" for text in prompts])
    )
    found = clip_scores(seen(prefixed, shown, prompts))
    assert found.dtype == torch.float64 and found.float().equal(expected)
    assert not found.equal(clip_scores(seen(judges, shown, prompts)))


def test_hits_count_what_the_prompt_says_and_the_picture_shows(judges: Judges) -> None:
    scene = draw_scene(generator(0, 0), held_out=False)
    prompts = ["a shape", caption(scene, generator(1, 0)), " ".join(scene.attributes.values())]
    found = hits(seen(judges, pictures(3), prompts))
    assert found is not None and found.shape == (3, 2)
    assert found[0].tolist() == [0, 0], "nothing is said, so nothing can be missed"
    assert found[2, 1] == len(scene.attributes)
    assert (found[:, 0] <= found[:, 1]).all()


def test_without_a_reader_there_are_no_hits(judges: Judges) -> None:
    blind = replace(judges, reader=None)
    values = {name: statistic(seen(blind, pictures(2), captions(2))) for name, statistic in STATISTICS.items()}
    assert values["hits"] is None and values["clip_scores"] is not None
    assert values["dinov2"] is None and values["cmmd"] is None, "nobody asks for them"


def test_a_picture_is_judged_alone(judges: Judges) -> None:
    shown, prompts = pictures(4), captions(4)
    for name in ("features", "clip_scores", "hits"):
        statistic = STATISTICS[name]
        whole = statistic(seen(judges, shown, prompts))
        ones = [statistic(seen(judges, shown[i : i + 1], prompts[i : i + 1])) for i in range(4)]
        assert whole is not None
        torch.testing.assert_close(torch.cat([one for one in ones if one is not None]), whole)
