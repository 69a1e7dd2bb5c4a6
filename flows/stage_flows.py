"""One Prefect flow per stage, each deployable alone (prefect.yaml). Parameters are the Prefect UI's form.

`inputs` maps roles to artifact URIs, to `stage/fingerprint` references in `store`, to absolute paths of plain
folders, or to "mini", which is what is embedded. Each flow returns the URI of its artifact.
"""

from prefect import Flow, flow
from prefect.client.schemas.objects import State

from flows.stage_run import run
from flows.stages import STAGES
from infra.recipe import Direct, Distill, Performance, Reflow, Report, TrainClip, TrainTeacher, World
from tasks.jobs import EvaluateJob, PairsJob, PromptsJob

Inputs = dict[str, str]
Result = State[str] | str
_FAST = Performance()


@flow(name="world", flow_run_name="{name}", persist_result=False)
def world(config: World, inputs: Inputs, store: str, performance: Performance = _FAST, name: str = "world") -> Result:
    """Render the miniature caption set in the MS COCO layout. No inputs."""
    return run(name, config, inputs, store, performance)


@flow(name="teacher", flow_run_name="{name}", persist_result=False)
def teacher(
    config: TrainTeacher, inputs: Inputs, store: str, performance: Performance = _FAST, name: str = "teacher"
) -> Result:
    """Train the small diffusion teacher. Inputs: world."""
    return run(name, config, inputs, store, performance)


@flow(name="clip", flow_run_name="{name}", persist_result=False)
def clip(config: TrainClip, inputs: Inputs, store: str, performance: Performance = _FAST, name: str = "clip") -> Result:
    """Train the small CLIP and the attribute reader. Inputs: world."""
    return run(name, config, inputs, store, performance)


@flow(name="prompts", flow_run_name="{name}", persist_result=False)
def prompts(
    config: PromptsJob, inputs: Inputs, store: str, performance: Performance = _FAST, name: str = "prompts"
) -> Result:
    """Sample the prompts of both parts. Inputs: coco."""
    return run(name, config, inputs, store, performance)


@flow(name="pairs", flow_run_name="{name}", persist_result=False)
def pairs(
    config: PairsJob, inputs: Inputs, store: str, performance: Performance = _FAST, name: str = "pairs"
) -> Result:
    """Solve noise to latent, one pair per prompt. Inputs: teacher, prompts."""
    return run(name, config, inputs, store, performance)


@flow(name="reflow", flow_run_name="{name}", persist_result=False)
def reflow(
    config: Reflow, inputs: Inputs, store: str, performance: Performance = _FAST, name: str = "reflow"
) -> Result:
    """Straighten the flow: one round. Inputs: teacher, pairs."""
    return run(name, config, inputs, store, performance)


@flow(name="distill", flow_run_name="{name}", persist_result=False)
def distill(
    config: Distill, inputs: Inputs, store: str, performance: Performance = _FAST, name: str = "distill"
) -> Result:
    """Distill a rectified flow to one step. Inputs: teacher (the 2-RF), pairs, clip if the loss needs it."""
    return run(name, config, inputs, store, performance)


@flow(name="direct", flow_run_name="{name}", persist_result=False)
def direct(
    config: Direct, inputs: Inputs, store: str, performance: Performance = _FAST, name: str = "direct"
) -> Result:
    """Distill the teacher without reflow. Inputs: teacher, pairs, clip if the loss needs it."""
    return run(name, config, inputs, store, performance)


@flow(name="evaluate", flow_run_name="{name}", persist_result=False)
def evaluate(
    config: EvaluateJob, inputs: Inputs, store: str, performance: Performance = _FAST, name: str = "evaluate"
) -> Result:
    """Measure every model. Inputs: coco, teacher, rectified, student, direct, clip."""
    return run(name, config, inputs, store, performance)


@flow(name="report", flow_run_name="{name}", persist_result=False)
def report(
    config: Report, inputs: Inputs, store: str, performance: Performance = _FAST, name: str = "report"
) -> Result:
    """Write the report. Inputs: evaluate and what it came from."""
    return run(name, config, inputs, store, performance)


_ALL = (world, teacher, clip, prompts, pairs, reflow, distill, direct, evaluate, report)
STAGE_FLOWS: dict[str, Flow[..., Result]] = {one.name: one for one in _ALL}
assert STAGE_FLOWS.keys() == STAGES.keys(), "every stage has its flow"
