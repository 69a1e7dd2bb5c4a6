"""The metrics, a row each: schema, reduction over shards, both tables, figures and docs are drawn from the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A number that every model has at every number of steps, or that is null where it does not apply.

    `reduced` says how it comes from what is kept of a cell: the `mean` or the `median` of the statistic `of`, a `ratio`
    of the sums of its two columns, or how the two sets of pictures of the comparison `of` differ: the `frechet` or
    `kernel` distance, the `discrepancy`, `precision` or `recall`.
    """

    key: str
    meaning: str
    heading: str
    reduced: Literal[
        "mean", "median", "ratio", "frechet", "kernel", "discrepancy", "precision", "recall"
    ]  # fmt: skip
    of: str
    label: str = ""  # of its column in the terminal; none: it is not shown there
    unit: Literal["", "%", "s"] = ""
    better: Literal["lower", "higher"] = "lower"
    has_floor: bool = False  # the floor's value is a line in its figure
    title: str = ""  # of its figure over the steps; none: it has no figure
    is_log: bool = False
    note: str = ""  # under the figure

    @property
    def interval_key(self) -> str:
        """The key of half the width of its 95 % interval."""
        return f"{self.key}_interval"

    @property
    def is_timed(self) -> bool:
        """Whether it is taken by the clock, and says less when the machine did other work as well."""
        return self.of in ("latency", "rate")


METRICS = (
    Metric("frechet_distance", "to the teacher's pictures", "Fréchet distance, teacher’s", "frechet", "reference",
           label="Frechet", has_floor=True, title="Fréchet distance to the teacher", is_log=True),
    Metric("frechet_distance_coco", "to the real pictures", "Fréchet distance, real", "frechet", "coco",
           has_floor=True, title="Fréchet distance to real pictures", is_log=True),
    Metric("kid", "kernel Inception distance to the real pictures", "KID, real", "kernel", "kid"),
    Metric("precision", "fraction of the pictures in a real one's neighbourhood", "precision", "precision",
           "precision_recall", unit="%", better="higher"),
    Metric("recall", "fraction of the real pictures in a neighbourhood of one of these", "recall", "recall",
           "precision_recall", unit="%", better="higher"),
    Metric("frechet_distance_dinov2", "to the real pictures, of DINOv2's class tokens (FD-DINOv2)", "FD-DINOv2, real",
           "frechet", "dinov2"),
    Metric("cmmd", "CLIP maximum mean discrepancy to the real pictures, times 1,000", "CMMD, real", "discrepancy",
           "cmmd"),
    Metric("clip_score", "mean cosine of picture and caption", "CLIP score", "mean", "clip_scores",
           label="CLIP", better="higher", title="CLIP score"),
    Metric("attribute_accuracy", "fraction of the stated attributes that the picture shows", "attributes", "ratio",
           "hits", label="attributes", unit="%", better="higher", title="Attribute accuracy"),
    Metric("straightness", "S per element, 0 iff straight", "straightness S", "mean", "straightness", label="S"),
    Metric("distance_to_own_teacher", "mean squared, per element of the latent, from the same noise",
           "distance to own teacher", "mean", "own_distances", label="to own teacher",
           title="Distance to its own teacher", is_log=True, note="the student’s is the 2-RF"),
    Metric("median_distance_to_own_teacher", "the median: flips to another picture dominate the mean",
           "median", "median", "own_distances", label="median"),
    Metric("distance_to_teacher", "the same, to the first teacher whatever the model learnt from",
           "distance to teacher", "mean", "teacher_distances",
           title="Distance to the teacher", is_log=True, note="of the whole chain, from the same noise"),
    Metric("median_distance_to_teacher", "its median", "median", "median", "teacher_distances", label="to teacher"),
    Metric("seconds_per_image", "batch 1, s, median", "time, batch 1", "median", "latency", label="latency", unit="s"),
    Metric("images_per_second", "at the best batch size, median", "pictures per second", "median", "rate",
           label="images/s", better="higher"),
)  # fmt: skip
BY_KEY = {metric.key: metric for metric in METRICS}
