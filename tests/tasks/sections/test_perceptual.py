"""The networks of a perceptual distance are needed only where pictures are compared."""

from __future__ import annotations

from tasks.sections import Distill, DistillPhase, Reflow


def test_the_small_clip_is_needed_where_its_layers_compare_pictures() -> None:
    assert Reflow(loss="lpips_huber").needs_mini_clip and not Reflow().needs_mini_clip
    assert Distill(phases=(DistillPhase(loss="lpips_huber"),)).needs_mini_clip
