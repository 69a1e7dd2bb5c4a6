"""The chain of the paper: which stages, in which order, fed by what, and what is claimed of them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from flows.algorithms.chain import Given, Node
from flows.algorithms.instaflow import ALGORITHM, CLAIMS, ROLES
from flows.recipes import chain_of, parse_recipe
from tasks.claims import Claim, StepwiseClaim
from tasks.evaluate.metrics import BY_KEY
from tasks.roles import FLOOR
from tasks.sections import EvaluateJob, PairsJob, ReportJob

TEACHER, CLIP, JUDGE = Given("model", "mini"), Given("clip", "mini"), Given("clip", "mini-judge")


def _nodes(**sections: object) -> Mapping[str, Node]:
    nodes = chain_of(parse_recipe({"name": "test", **sections}, "test")).nodes
    assert [*nodes][-1] == "report"
    return nodes


def test_the_chain_of_the_paper() -> None:
    nodes = _nodes()
    assert [*nodes] == [
        "world", "prompts", "pairs-1", "reflow-1", "pairs-student", "distill", "pairs-direct", "direct",
        "real", "evaluate", "report",
    ]  # fmt: skip
    assert nodes["pairs-1"].inputs == {"teacher": TEACHER, "prompts": "prompts"}
    assert nodes["reflow-1"].inputs == {"teacher": TEACHER, "pairs": "pairs-1"}
    assert nodes["pairs-student"].inputs == {"teacher": "reflow-1", "prompts": "prompts"}
    assert nodes["distill"].inputs == {"teacher": "reflow-1", "pairs": "pairs-student", "clip": CLIP}
    assert nodes["direct"].inputs == {
        "teacher": TEACHER, "pairs": "pairs-1", "more_pairs": "pairs-direct", "clip": CLIP,
    }  # fmt: skip
    assert nodes["evaluate"].inputs == {
        "coco": "world", "teacher": TEACHER, "rectified": "reflow-1", "student": "distill", "direct": "direct",
        "judge": JUDGE, "real": "real",
    }  # fmt: skip
    assert nodes["real"].inputs == {"coco": "world", "judge": JUDGE, "teacher": TEACHER}
    assert nodes["report"].inputs == {
        "evaluate": "evaluate", "teacher": TEACHER, "prompts": "prompts", "pairs-1": "pairs-1", "reflow-1": "reflow-1",
        "pairs-student": "pairs-student", "distill": "distill", "pairs-direct": "pairs-direct", "direct": "direct",
    }  # fmt: skip


def test_the_baseline_has_as_many_pairs_as_reflow_and_distillation_together() -> None:
    nodes = _nodes()
    first, more, student = (nodes[name].config for name in ("pairs-1", "pairs-direct", "pairs-student"))
    assert isinstance(first, PairsJob) and isinstance(more, PairsJob) and isinstance(student, PairsJob)
    assert more.model_copy(update={"part": first.part, "samples": first.samples}) == first, "the teacher's, made alike"
    assert (more.part, more.samples) == (student.part, student.samples), "of the prompts of the student's"


def test_every_further_round_solves_the_flow_of_the_last() -> None:
    nodes = _nodes(reflow={"rounds": 2})
    assert nodes["pairs-2"].inputs["teacher"] == "reflow-1"
    assert nodes["reflow-2"].inputs == {"teacher": "reflow-1", "pairs": "pairs-2"}
    assert nodes["pairs-student"].inputs["teacher"] == "reflow-2"
    first, second = nodes["pairs-1"].config, nodes["pairs-2"].config
    assert isinstance(first, PairsJob) and isinstance(second, PairsJob)
    assert (first.solver, first.part) == ("dpmsolver++", "reflow")
    assert (second.solver, second.part) == ("euler", "reflow")
    assert [nodes[stage].config.identity()["round"] for stage in ("pairs-1", "reflow-1", "pairs-2", "reflow-2")] == [
        1, 1, 2, 2,
    ], "every round draws noise and sigmas of its own"  # fmt: skip


def test_one_more_round_leaves_the_first_as_it_was() -> None:
    one, two = _nodes(), _nodes(reflow={"rounds": 2})
    for stage in ("pairs-1", "reflow-1"):
        assert one[stage].config.identity() == two[stage].config.identity()


def test_what_is_off_is_left_out() -> None:
    nodes = _nodes(direct={"enabled": False}, distill={"phases": [{"loss": "l2"}]})
    assert not {"direct", "pairs-direct"} & nodes.keys()
    assert "direct" not in nodes["evaluate"].inputs and "direct" not in nodes["report"].inputs
    assert "clip" not in nodes["distill"].inputs


def test_a_reflow_that_compares_pictures_is_given_the_small_clip() -> None:
    nodes = _nodes(reflow={"loss": "lpips_huber"})
    assert nodes["reflow-1"].inputs == {"teacher": TEACHER, "pairs": "pairs-1", "clip": CLIP}


def test_no_small_clip_where_no_judge_is_one() -> None:
    others = {"features": "inception", "inception_weights": "i.pth", "clip": {"architecture": "x", "weights": "x.bin"}}
    for stage in ("evaluate", "real"):
        assert "judge" not in _nodes(evaluate=others)[stage].inputs
    assert _nodes(evaluate={**others, "features": "mini"})["evaluate"].inputs["judge"] == JUDGE


def test_the_real_pictures_know_of_a_teacher_only_where_it_tells_their_size() -> None:
    nodes = _nodes(evaluate={"pictures": {"size": 24}})
    assert nodes["real"].inputs == {"coco": "world", "judge": JUDGE} and nodes["evaluate"].inputs["real"] == "real"


def test_evaluation_and_report_are_told_the_algorithms_roles_and_claims() -> None:
    nodes = _nodes()
    evaluate, report = nodes["evaluate"].config, nodes["report"].config
    assert isinstance(evaluate, EvaluateJob) and isinstance(report, ReportJob)
    assert evaluate.roles == ROLES and {role.input for role in ROLES} <= nodes["evaluate"].inputs.keys()
    assert report.claims == CLAIMS == ALGORITHM.claims and report.algorithm == ALGORITHM.name


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.title)
def test_a_claim_is_of_roles_and_numbers_that_there_are(claim: Claim | StepwiseClaim) -> None:
    assert {claim.of, claim.against} <= {FLOOR, *(role.name for role in ROLES)}
    assert claim.metric in BY_KEY
    assert claim.detail.format(of="1", against="2", steps="3") != claim.detail, "the numbers are told"
