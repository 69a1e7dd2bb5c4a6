"""The file of the work pools: where runs are done, and how a lost one is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

import infra
from infra.errors import UserError
from infra.recipe import Count, Section, validated
from infra.recipe.yaml_file import read_mapping

BUNDLED = Path(infra.__file__).parent / "pools.yaml"
LOST_AFTER_S = 90
"""Three heartbeats: one may be late, one may be lost."""

PoolName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class WorkerPlace(Section):
    """One worker that `instaflow up` starts on this machine."""

    devices: str = Field(
        default="",
        pattern=r"^[\w,-]*$",
        description="the devices that it alone owns, as CUDA_VISIBLE_DEVICES names them (0 or 2,3). With any it"
        " does one run at a time; without, on the CPU, as many as come",
    )


class Pool(Section):
    """A Prefect work pool."""

    type: Literal["process", "docker", "kubernetes"] = Field(default="process", description="what runs are done in")
    concurrency: Count | None = Field(default=None, description="runs at once, of all workers; null: as many as come")
    job_variables: dict[str, JsonValue] = Field(
        default={}, description="of every deployment on it, beside ours: image, namespace, env, ..."
    )
    base_job_template: str | None = Field(
        default=None, description="JSON file with the pool's job template, beside this file; null: Prefect's own"
    )
    workers: Annotated[tuple[WorkerPlace, ...], Field(strict=False)] = Field(
        default=(), description="those that `instaflow up` starts on this machine"
    )


class Pools(Section):
    """Every pool."""

    default: str = Field(description="the pool on which the pipelines themselves run")
    pools: dict[PoolName, Pool] = Field(min_length=1, description="by name")
    heartbeat_s: int = Field(default=30, ge=30, description="a run gives a sign of life every so many seconds")
    lost_after_s: int = Field(
        default=LOST_AFTER_S, description="silent for so many seconds, it is given to another worker"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.default not in self.pools:
            raise ValueError(f"`default` {self.default} is none of the pools: {', '.join(self.pools)}")
        if self.lost_after_s <= self.heartbeat_s:
            raise ValueError(
                f"`lost_after_s` {self.lost_after_s} is no longer than `heartbeat_s` {self.heartbeat_s}: every run"
                " would be taken for lost; three times as long is usual"
            )
        return self

    @model_validator(mode="after")
    def _shares_no_device(self) -> Self:
        owners: dict[str, str] = {}
        for name, pool in self.pools.items():
            for worker in pool.workers:
                for device in filter(None, worker.devices.split(",")):
                    if device in owners:
                        raise ValueError(f"device {device} is given to a worker of {owners[device]} and one of {name}")
                    owners[device] = name
        return self


def read_pools(path: Path | None = None) -> Pools:
    """The pools of a file, by default the bundled one.

    Raises UserError naming file, field, value and what was expected.
    """
    path = path or BUNDLED
    found = validated(Pools, read_mapping(path), lambda _: str(path))
    return found.model_copy(update={"pools": {name: _located(pool, name, path) for name, pool in found.pools.items()}})


def _located(pool: Pool, name: str, path: Path) -> Pool:
    """With the whole path of its job template."""
    if pool.base_job_template is None:
        return pool
    template = path.parent / pool.base_job_template
    if not template.is_file():
        raise UserError(f"{path}: pools.{name}.base_job_template: {template}: no such file. Paths start at the file.")
    return pool.model_copy(update={"base_job_template": str(template.absolute())})
