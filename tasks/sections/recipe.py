"""What every recipe says, whatever its algorithm; how fast and where, which is never what."""

from __future__ import annotations

from typing import Self

from pydantic import Field, JsonValue

from infra.recipe import Count, Counts, Rate, Section, Seed
from tasks.sections.budget import Budget
from tasks.sections.placement import Place

UNSHIFTED: dict[str, JsonValue] = {"shifted": False}
"""json_schema_extra of a seed that the recipe's own seed is not added to."""


class Performance(Section):
    """How fast: never part of a fingerprint."""

    sample_batch_size: Count = Field(default=128, description="samples per solver batch")
    micro_batch_size: Count | None = Field(
        default=None,
        description="pairs that go through the network of one device at once in training; a step adds up the gradients"
        " of its batch. null: the device's whole share of the batch. Halved when the device has no room for them",
    )
    shard: bool = Field(
        default=False,
        description="in a training on several devices, spread weights, gradients, their average and the optimizer's"
        " moments over them, for networks that do not fit into one; false: each device has all of them",
    )
    throughput_batch_sizes: Counts = Field(
        default=(1, 8, 32, 128), description="batch sizes at which samples per second are measured"
    )
    tflops: Rate | None = Field(
        default=None,
        description="what one device sustains, in TFLOP per second: `plan` then prices in device-days; null: not known",
    )


class Recipe(Section):
    """What every recipe says, whatever its algorithm."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names the recipe's runs in the store")
    algorithm: str = Field(default="instaflow", description="what is done with the sections")
    seed: Seed = Field(default=0, description="added to every section's seed but the world's")
    performance: Performance = Field(default=Performance(), description=Performance.__doc__)
    placement: dict[str, Place] = Field(
        default={},
        description="where each stage is done, by id (`pairs-1`) or name (`pairs`); `default` stands for all others",
    )
    budget: Budget = Field(default=Budget(), description=Budget.__doc__)

    def __hash__(self) -> int:
        """Of what it says: a mapping has no hash of its own."""
        return hash(self.model_dump_json())

    def seeded(self) -> Self:
        """The recipe with `seed` added to every section's seed but the world's, and itself 0."""
        sections = {name: getattr(self, name) for name in type(self).model_fields}
        shifted = {
            name: section.model_copy(update={"seed": section.model_dump()["seed"] + self.seed})
            for name, section in sections.items()
            if isinstance(section, Section) and _is_shifted(type(section))
        }
        return self.model_copy(update={**shifted, "seed": 0})


def _is_shifted(section: type[Section]) -> bool:
    field = section.model_fields.get("seed")
    return field is not None and field.json_schema_extra != UNSHIFTED
