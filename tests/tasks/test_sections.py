"""The sections of recipes: what shapes an output is their identity, and every field says what it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from flows.algorithms.instaflow import Recipe
from flows.recipes import parse_recipe
from infra.artifact.fingerprint import canonical_json
from infra.errors import UserError
from infra.recipe import Section
from models.judges import precision_recall
from tasks.roles import STANDARD, STUDENT
from tasks.sections import (
    NEIGHBOURS,
    Coco,
    Distill,
    DistillPhase,
    Evaluate,
    EvaluateJob,
    Pairs,
    PairsJob,
    Pictures,
    Prompts,
    PromptsJob,
    RealJob,
    Reflow,
    ReflowJob,
    Report,
    ReportJob,
)


def test_one_seed_moves_all_but_the_world() -> None:
    recipe = Recipe(name="x", seed=7)
    moved = recipe.seeded()
    assert moved.pairs.seed == recipe.pairs.seed + 7 and moved.direct.seed == recipe.direct.seed + 7
    assert moved.world == recipe.world and moved.seeded() == moved
    assert Recipe(name="x").seeded() == Recipe(name="x")


def kinds(base: type[Section]) -> list[type[Section]]:
    """The sections of the house (tests have their own), however deep they lie below `base`."""
    below = [one for kind in base.__subclasses__() for one in (kind, *kinds(kind))]
    return [*dict.fromkeys(one for one in below if one.__module__.startswith(("tasks.", "flows.")))]


@pytest.mark.parametrize("model", [Section, *kinds(Section)])
def test_every_field_is_documented(model: type[Section]) -> None:
    assert model.__doc__ and model.model_config["frozen"]
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def sections(recipe: Recipe) -> dict[str, Section]:
    found = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    return {name: section for name, section in found.items() if isinstance(section, Section)}


@pytest.mark.parametrize("name", [*sections(Recipe(name="x"))])
def test_defaults_filled_in_are_defaults_left_out(name: str) -> None:
    bare = Recipe(name="x")
    written = parse_recipe({"name": "x", name: sections(bare)[name].model_dump(mode="json")}, "test")
    assert sections(written)[name].identity() == sections(bare)[name].identity()


@given(st.integers(1, 512), st.lists(st.integers(1, 512), min_size=1), st.integers(1, 64), st.none() | st.text())
def test_where_and_how_fast_do_not_matter(batch: int, batches: list[int], workers: int, pool: str | None) -> None:
    base = Recipe(name="x")
    fast = {"sample_batch_size": batch, "throughput_batch_sizes": batches}
    other = parse_recipe({"name": "y", "performance": fast, "placement": {"pool": pool, "workers": workers}}, "test")
    aside = {"performance", "placement"}
    mine = {name: section.identity() for name, section in sections(other).items() if name not in aside}
    assert mine == {name: section.identity() for name, section in sections(base).items() if name not in aside}


@given(st.floats(0, 20), st.integers(1, 50), st.sampled_from(["dpmsolver++", "ddim", "euler"]))
def test_what_affects_the_output_matters(guidance: float, steps: int, solver: str) -> None:
    base = Recipe(name="x").pairs
    data = {"guidance": guidance, "steps": steps, "solver": solver}
    other = parse_recipe({"name": "x", "pairs": data}, "test").pairs
    assert (other.identity() == base.identity()) == (other == base)


def test_paths_and_checkpoint_intervals_do_not_matter() -> None:
    data = {
        "teacher": {"path": "/elsewhere"},
        "reflow": {"checkpoint_every_steps": 7},
        "direct": {"enabled": False},
    }
    base, other = Recipe(name="x"), parse_recipe({"name": "x", **data}, "test")
    for name in data:
        assert sections(other)[name] != sections(base)[name]
        assert sections(other)[name].identity() == sections(base)[name].identity()


def test_integers_given_for_floats_are_the_same() -> None:
    whole = parse_recipe({"name": "x", "pairs": {"guidance": 5}}, "test").pairs
    assert canonical_json(whole.identity()) == canonical_json(Recipe(name="x").pairs.identity())


def test_a_job_is_its_section_and_what_else_shapes_the_output() -> None:
    job = PairsJob.of(Pairs(steps=3), "distill", Prompts(reflow_count=5, distill_count=7), "bf16")
    assert (job.steps, job.part, job.dtype, job.samples) == (3, "distill", "bf16", 7)
    assert job.identity() == {**Pairs(steps=3).identity(), "part": "distill", "round": 1, "dtype": "bf16"}
    prompts, coco = Prompts(source="coco", seed=5), Coco(path="/data", images="mine")
    assert PromptsJob.of(prompts, coco).identity() == {**prompts.identity(), "coco": coco.identity()}
    assert PromptsJob.of(prompts, coco).coco.path is None, "inputs are passed by digest"


def test_roles_claims_and_algorithm_were_not_always_said() -> None:
    usual = EvaluateJob.of(Evaluate(), Coco(path="/data"), STANDARD)
    assert usual.identity() == {**Evaluate().identity(), "coco": Coco().identity()}
    relabelled = STUDENT.model_copy(update={"label": "Pupil", "colour": "#000000"})
    assert EvaluateJob.of(Evaluate(), Coco(), (*STANDARD[:2], relabelled, *STANDARD[3:])).identity() == usual.identity()
    assert EvaluateJob.of(Evaluate(), Coco(), (STUDENT,)).identity()["roles"] == [STUDENT.identity()]
    assert ReportJob.of(Report(), "instaflow", ()).identity() == Report().identity()
    assert ReportJob.of(Report(), "other", ()).identity() == {**Report().identity(), "algorithm": "other"}


def test_real_pictures_are_told_of_judges_and_of_no_models() -> None:
    told = Evaluate(
        extras=("kid", "dinov2"), dinov2_weights="dinov2", steps=(3,), seed=5, pictures=Pictures(size=64), num_images=7
    )  # fmt: skip
    job = RealJob.of(told, Coco(path="/data"))
    assert job.identity() == {
        **RealJob().identity(), "num_images": 7, "pictures": told.pictures.identity(), "extras": ["dinov2"],
    }  # fmt: skip
    assert job.dinov2_weights == "dinov2" and job.coco.path is None
    assert RealJob.of(Evaluate(extras=("kid",)), Coco()).identity() == RealJob().identity()
    assert not {"real", "extras", "cmmd_clip"} & Evaluate().identity().keys(), "they came later"


def test_the_neighbours_are_those_of_the_judges() -> None:
    assert NEIGHBOURS == precision_recall.NEIGHBOURS


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        ({"pictures": {"filter": "lanczos", "antialias": False}}, "take bicubic or bilinear"),
        ({"inception_resize": "clean"}, 'inception_resize "clean" has no effect on features "mini"'),
        ({"clip": {"tag": "openai"}}, 'tag "openai" beside architecture "mini"'),
        ({"dinov2_weights": "dinov2"}, 'extras "dinov2" and `dinov2_weights`, its network, need each other'),
        ({"extras": ["dinov2"]}, 'extras "dinov2" and `dinov2_weights`, its network, need each other'),
        ({"extras": ["cmmd"]}, 'extras "cmmd" and `cmmd_clip`, its network, need each other'),
        ({"extras": ["cmmd"], "cmmd_clip": {"architecture": "ViT-B-32"}}, "needs `cmmd_clip.weights`, a file"),
        ({"extras": ["cmmd"], "cmmd_clip": {"prompt_prefix": "a "}}, "CMMD looks at pictures alone"),
        ({"extras": ["kid", "kid"]}, "extras: kid, kid: expected each once"),
        ({"extras": ["precision_recall"], "num_images": 3}, "expected num_images above 3, found 3"),
    ],
)
def test_a_setting_without_an_effect_is_refused(evaluate: dict[str, JsonValue], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_recipe({"name": "x", "evaluate": evaluate}, "test")


def test_how_pictures_are_judged_shapes_the_numbers_where_it_is_not_as_before() -> None:
    usual = Evaluate().identity()
    assert not {"pictures", "inception_resize"} & usual.keys() and "tag" not in str(usual)
    small = parse_recipe({"name": "x", "evaluate": {"pictures": {"size": 256}}}, "test").evaluate
    assert small.identity() == {**usual, "pictures": {"size": 256, "filter": "lanczos", "antialias": True}}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ({"reflow": {"warmup_steps": 21, "phases": [{"steps": 100}, {"steps": 20}]}}, "phases.1.steps 20"),
        ({"reflow": {"phases": [{"steps": 100}]}}, "phases.0.steps 100"),
        ({"distill": {"warmup_steps": 11, "phases": [{"steps": 10}]}}, "phases.0.steps 10"),
        ({"direct": {"warmup_steps": 11, "phases": [{"steps": 10}]}}, "phases.0.steps 10"),
        ({"train_teacher": {"warmup_steps": 50, "steps": 40}}, "steps 40"),
        ({"train_teacher": {"warmup_steps": 50, "autoencoder_steps": 40}}, "autoencoder_steps 40"),
    ],
)
def test_a_warm_up_longer_than_the_training_is_refused(text: dict[str, JsonValue], field: str) -> None:
    ((section, told),) = text.items()
    steps = told.get("warmup_steps", 200)  # type: ignore[union-attr]
    expected = rf"^test: {section}: warmup_steps {steps} is longer than {field}: .* Warm up for fewer"
    with pytest.raises(UserError, match=expected):
        parse_recipe({"name": "x", **text}, "test")


def test_a_warm_up_may_be_all_of_a_training() -> None:
    recipe = parse_recipe({"name": "x", "reflow": {"warmup_steps": 20, "phases": [{"steps": 20}]}}, "test")
    assert recipe.reflow.phases[0].steps == 20  # type: ignore[attr-defined]


def test_a_reflow_of_before_is_told_where_its_fields_are_now() -> None:
    with pytest.raises(UserError, match=r"reflow\.steps: unknown key\. Did you mean reflow\.phases\.0\.steps\?"):
        parse_recipe({"name": "x", "reflow": {"steps": 3}}, "test")


def test_the_number_of_rounds_is_the_algorithms_and_which_it_is_the_jobs() -> None:
    one, two = ReflowJob.of(Reflow(), 1), ReflowJob.of(Reflow(), 2)
    assert one.identity() == ReflowJob.of(Reflow(rounds=5), 1).identity() != two.identity()
    assert (one.round, two.round) == (1, 2)


def test_fields_of_later_work_change_nothing_until_they_are_used() -> None:
    assert {"architecture", "parameterization"}.isdisjoint(Distill().identity())
    assert "perceptual" not in Reflow().identity()
    assert Distill(architecture="stacked").identity()["architecture"] == "stacked"


def test_lpips_huber_is_a_distance_of_velocities() -> None:
    with pytest.raises(UserError, match='reflow: loss "lpips_huber" is one of velocities'):
        parse_recipe({"name": "x", "reflow": {"parameterization": "epsilon", "loss": "lpips_huber"}}, "test")
    assert Reflow(loss="lpips_huber").needs_mini_clip and not Reflow().needs_mini_clip
    assert Distill(phases=(DistillPhase(loss="lpips_huber"),)).needs_mini_clip
