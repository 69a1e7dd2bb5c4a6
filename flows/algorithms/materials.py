"""What the algorithms start from: captioned pictures, a teacher, the small CLIPs of training and of measuring."""

from __future__ import annotations

from pydantic import Field, model_validator

from flows.algorithms.algorithm import Do, Handle
from tasks.sections import Adopt, Coco, ModelSource, Recipe, TeacherSource, TrainClip, TrainTeacher, World


class Materials(Recipe):
    """The sections that say where they come from."""

    world: World | None = Field(
        default=World(), description="the miniature world; null when coco.path names a data set"
    )
    teacher: TeacherSource = Field(default=TeacherSource(), description=TeacherSource.__doc__)
    train_teacher: TrainTeacher | None = Field(
        default=None, description="set to train the teacher instead of loading one"
    )
    train_clip: TrainClip | None = Field(
        default=None, description="set to train the small CLIP of the perceptual loss instead of loading one"
    )
    train_judge: TrainClip | None = Field(
        default=None, description="set to train the small CLIP and the reader that measure instead of loading them"
    )
    coco: Coco = Field(default=Coco(), description=Coco.__doc__)

    @model_validator(mode="after")
    def _has_pictures(self) -> Materials:
        if self.world is None and self.coco.path is None:
            raise ValueError("without `world` the evaluation needs `coco.path`, a folder in the MS COCO layout")
        if self.world is not None and self.coco.path is not None:
            raise ValueError(
                f"`coco.path` ({self.coco.path}) has no effect beside `world`: set `world` to null to take the pictures"
                " of that folder, or leave the path out"
            )
        if self.train_teacher is not None and self.teacher.path != "mini":
            raise ValueError(
                f"`teacher.path` ({self.teacher.path}) has no effect beside `train_teacher`: set `train_teacher` to"
                " null to load the teacher of that folder, or leave the path out"
            )
        return self

    @model_validator(mode="after")
    def _convention_is_of_a_folder(self) -> Materials:
        if self.teacher.convention == "paper" and (self.train_teacher or self.teacher.path == "mini"):
            raise ValueError(
                'teacher.convention "paper" is said of published weights; expected `teacher.path`, their folder, and no'
                " `train_teacher`"
            )
        return self


def captioned(world: World | None, coco: Coco, do: Do[Handle]) -> Handle:
    """The captioned pictures: the miniature world's, else those of a folder."""
    return do("world", world) if world else do.given("coco", coco.path or "")


def opened(source: ModelSource, do: Do[Handle]) -> Handle:
    """A model that lies ready; one of the paper's convention is turned into one of ours first."""
    model = do.given("model", source.address)
    return do("adopt", Adopt(), teacher=model) if source.convention == "paper" else model


def materials(recipe: Materials, do: Do[Handle]) -> tuple[Handle, Handle, Handle, Handle]:
    """The captioned images, the teacher, the small CLIP to train with and the one to measure with.

    Made here if the recipe says so, else given.
    """
    coco = captioned(recipe.world, recipe.coco, do)
    if recipe.train_teacher:
        teacher = do("teacher", recipe.train_teacher, world=coco)
    else:
        teacher = opened(recipe.teacher, do)
    clip = do("clip", recipe.train_clip, world=coco) if recipe.train_clip else do.given("clip", "mini")
    if recipe.train_judge:
        judge = do("clip-judge", recipe.train_judge, world=coco)
    else:
        judge = do.given("clip", "mini-judge")
    return coco, teacher, clip, judge
