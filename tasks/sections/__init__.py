"""The vocabulary of recipes: what can be said of each stage, as frozen documented models.

A recipe (flows/algorithms) is made of these sections. A *job* is what a stage is told: its section, plus the fields of
other sections that shape its output, so that they enter its fingerprint and the form that Prefect shows. Where things
lie is left out: inputs are passed by digest. `performance` and `placement` say how fast and where, never what.
"""

from tasks.sections.captioned import Coco, World
from tasks.sections.distill import Direct, Distill, DistillPhase
from tasks.sections.evaluate import Evaluate, EvaluateJob
from tasks.sections.judging import NEIGHBOURS, OWN_NETWORKS, Clip, Extra, Judging, Pictures, RealJob
from tasks.sections.pairs import Guidance, Pairs, PairsJob, Solver, StudentPairs
from tasks.sections.perceptual import Perceiving, Perceptual
from tasks.sections.placement import Place
from tasks.sections.prompts import Part, PromptColumns, PromptFilters, Prompts, PromptsJob
from tasks.sections.recipe import UNSHIFTED, Performance, Recipe
from tasks.sections.reflow import Reflow, ReflowJob, ReflowPhase
from tasks.sections.report import Page, Report, ReportJob
from tasks.sections.small_models import TrainClip, TrainTeacher
from tasks.sections.source import Adopt, Dtype, ModelSource, TeacherSource
from tasks.sections.training import Decay, Precision, Trained, Training

__all__ = [
    "NEIGHBOURS", "OWN_NETWORKS", "UNSHIFTED", "Adopt", "Clip", "Coco", "Decay", "Direct", "Distill", "DistillPhase",
    "Dtype", "Evaluate", "EvaluateJob", "Extra", "Guidance", "Judging", "ModelSource", "Page", "Pairs", "PairsJob",
    "Part", "Perceiving", "Perceptual", "Performance", "Pictures", "Place", "Precision", "PromptColumns",
    "PromptFilters", "Prompts", "PromptsJob", "RealJob", "Recipe", "Reflow", "ReflowJob", "ReflowPhase", "Report",
    "ReportJob", "Solver", "StudentPairs", "TeacherSource", "TrainClip", "TrainTeacher", "Trained", "Training",
    "World",
]  # fmt: skip
