"""Which prompts there are: where they are read, which are taken, how many."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from infra.recipe import FILES, Count, Section, Seed
from tasks.sections.captioned import Coco

Part = Literal["reflow", "distill"]


def _column(of: str, default: str) -> Any:
    return Field(default=default, min_length=1, description=f"column of {of}")


class PromptColumns(Section):
    """Where a Parquet or JSONL source keeps what is filtered by; the defaults are LAION's names."""

    similarity: str = _column("the similarity of text and picture", "similarity")
    aesthetic: str = _column("the aesthetic score", "AESTHETIC_SCORE")
    language: str = _column("the language", "LANGUAGE")
    width: str = _column("the picture's width, pixels", "WIDTH")
    height: str = _column("the picture's height, pixels", "HEIGHT")
    nsfw: str = _column("the NSFW tag", "NSFW")
    punsafe: str = _column("the probability that the picture is unsafe", "punsafe")


def _bound(text: str) -> Any:
    return Field(default=None, description=f"{text}; null lets all through")


class PromptFilters(Section):
    """Which rows of a Parquet or JSONL source are taken; one without the value is refused by its filter."""

    min_similarity: float | None = _bound("smallest similarity of text and picture (CLIP)")
    min_aesthetic: float | None = _bound("smallest aesthetic score")
    languages: tuple[str, ...] = Field(default=(), strict=False, description="the languages; none lets all through")
    min_width: Count | None = _bound("smallest width of the picture, pixels")
    min_height: Count | None = _bound("smallest height of the picture, pixels")
    nsfw: tuple[str, ...] = Field(
        default=(), strict=False, description="the NSFW tags, for instance [UNLIKELY]; none lets all through"
    )
    max_punsafe: float | None = _bound("largest probability that the picture is unsafe")

    def columns(self) -> tuple[str, ...]:
        """The fields of PromptColumns that the filters in use read."""
        used = {name.removeprefix("min_").removeprefix("max_"): getattr(self, name) for name in type(self).model_fields}
        used["language"] = used.pop("languages")
        return tuple(name for name in PromptColumns.model_fields if used[name] not in (None, ()))


class Prompts(Section):
    """Which prompts the two sets of pairs are made of."""

    source: Literal["mini", "coco", "text", "jsonl", "parquet"] = Field(
        default="mini",
        description="mini: the miniature grammar; coco: captions; text: a prompt per line; jsonl, parquet: a column",
    )
    path: str | None = Field(
        default=None,
        description="what to read: a file, a folder or a pattern such as s3://bucket/laion/*.parquet, plain or gzip;"
        " null takes the training captions of the caption set (coco)",
        json_schema_extra=FILES,
    )
    column: str = Field(
        default="TEXT", min_length=1, description="the Parquet column or JSONL field that holds the prompts"
    )
    columns: PromptColumns = Field(default=PromptColumns(), description=PromptColumns.__doc__)
    filters: PromptFilters = Field(default=PromptFilters(), description=PromptFilters.__doc__)
    reflow_count: Count = Field(default=20000, description="prompts, and so pairs, of the reflow part")
    distill_count: Count = Field(default=20000, description="prompts, and so pairs, of the distillation part")
    min_characters: Count = Field(default=1, description="shorter prompts are left out and counted, characters")
    max_characters: Count = Field(default=1000, description="longer prompts are left out and counted, characters")
    near_duplicates: Annotated[float, Field(ge=0.5, lt=1)] | None = Field(
        default=0.8,
        description="similarity (Jaccard, of runs of four letters) from about which a prompt is left out for an earlier"
        " one; null keeps all but equal ones; those of mini are all alike and kept",
    )
    seed: Seed = Field(default=0, description="seed of the choice and order of prompts")

    @model_validator(mode="after")
    def _has_path(self) -> Prompts:
        if self.source in _PLACED and self.path is None:
            raise ValueError(f'source "{self.source}" needs `path`, the file to read')
        return self

    @model_validator(mode="after")
    def _has_no_idle_field(self) -> Prompts:
        """A setting without an effect is a mistake: somebody thinks that it has one."""
        idle = {"path": ("mini",), "near_duplicates": ("mini",), **dict.fromkeys(_TABULAR, ("mini", "coco", "text"))}
        for name, sources in idle.items():
            if self.source in sources and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f'`{name}` has no effect with source "{self.source}": leave it out, or set `source`')
        for name, field in PromptColumns.model_fields.items():
            if getattr(self.columns, name) != field.default and name not in self.filters.columns():
                raise ValueError(f"`columns.{name}` has no effect: no filter reads it; leave it out, or set the filter")
        return self

    @model_validator(mode="after")
    def _has_lengths(self) -> Prompts:
        if self.min_characters > self.max_characters:
            raise ValueError(f"`min_characters` {self.min_characters} exceeds `max_characters` {self.max_characters}")
        return self

    def count(self, part: Part) -> int:
        """How many prompts the part has."""
        return {"reflow": self.reflow_count, "distill": self.distill_count}[part]


_PLACED = ("text", "jsonl", "parquet")
_TABULAR = ("column", "columns", "filters")


class PromptsJob(Prompts):
    """Sample prompts; the captions of `coco` are a source, and those used in the evaluation are excluded."""

    TRAINING_CAPTIONS: ClassVar = "annotations/captions_train2017.json"

    coco: Coco = Field(Coco(), description="files of the caption set within the input `coco`")

    @classmethod
    def of(cls, prompts: Prompts, coco: Coco) -> PromptsJob:
        """The job of a recipe's sections."""
        return cls(**dict(prompts), coco=coco.within())

    def read(self) -> set[str]:
        """The files of the caption set that are read."""
        is_source = self.source == "coco" and self.path is None
        return {self.coco.annotations, *([self.TRAINING_CAPTIONS] if is_source else [])}
