"""The metrics, a row each: schema, reduction over shards, both tables, figures and docs are drawn from the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A number that every model has at every number of steps, or that is null where it does not apply.

    `reduced` says how it comes from the shards of a cell: the `mean` of the statistic `of`, a `ratio` of the sums of
    its two columns, the `frechet` distance to the moments `of`, or `measured` once and kept with a unit. On the line
    `floor` it is the teacher's `value`, also drawn as a `line` in its figure, or `null`.
    """

    key: str
    meaning: str
    heading: str
    reduced: Literal["mean", "ratio", "frechet", "measured"]
    of: str = ""
    label: str = ""  # of its column in the terminal; none: it is not shown there
    unit: Literal["", "%", "s"] = ""
    better: Literal["lower", "higher"] = "lower"
    floor: Literal["line", "value", "null"] = "null"
    title: str = ""  # of its figure over the steps; none: it has no figure
    is_log: bool = False
    note: str = ""  # under the figure


METRICS = (
    Metric("frechet_distance", "to the teacher's pictures", "Fréchet distance, teacher’s", "frechet", "reference",
           label="Frechet", floor="line", title="Fréchet distance to the teacher", is_log=True),
    Metric("frechet_distance_coco", "to the real pictures", "Fréchet distance, real", "frechet", "coco",
           floor="value", title="Fréchet distance to real pictures", is_log=True),
    Metric("clip_score", "mean cosine of picture and caption", "CLIP score", "mean", "clip_scores",
           label="CLIP", better="higher", floor="value", title="CLIP score"),
    Metric("attribute_accuracy", "fraction of the stated attributes that the picture shows", "attributes", "ratio",
           "hits", label="attributes", unit="%", better="higher", floor="value", title="Attribute accuracy"),
    Metric("straightness", "S per element, 0 iff straight", "straightness S", "measured", label="S"),
    Metric("distance_to_own_teacher", "mean squared, per element of the latent, from the same noise",
           "distance to own teacher", "mean", "distances", label="to own teacher",
           title="Distance to its own teacher", is_log=True, note="the student’s is the 2-RF"),
    Metric("seconds_per_image", "batch 1, s", "time, batch 1", "measured", label="latency", unit="s"),
    Metric("images_per_second", "at the best batch size", "pictures per second", "measured",
           label="images/s", better="higher"),
)  # fmt: skip
