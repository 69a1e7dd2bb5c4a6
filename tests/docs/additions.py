"""The additions that docs/architecture.md shows, applied to a copy of the tree and run there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers import AuraFlowPipeline

HUNK = re.compile(r"^@@.*\n", re.MULTILINE)


def apply(page: str, root: Path) -> list[str]:
    """Do what the page's diffs say to the files below `root`; the files. A hunk has to fit one place, and one only."""
    changed = []
    for diff in re.findall(r"```diff\n(.*?)```", page, re.DOTALL):
        for part in re.split(r"^--- .*\n", diff, flags=re.MULTILINE)[1:]:
            head, *hunks = HUNK.split(part)
            file = root / head.strip().removeprefix("+++ b/")
            for hunk in hunks:
                _apply(hunk, file)
            changed.append(str(file.relative_to(root)))
    return changed


def _apply(hunk: str, file: Path) -> None:
    lines = hunk.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] != "+")
    after = "".join(line[1:] for line in lines if line[0] != "-")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if before:
        assert text.count(before) == 1, f"{file}: {text.count(before)} places for\n{before}"
        text = text.replace(before, after)
    else:
        text = after
    file.write_text(text, encoding="utf-8")


def run() -> None:
    """What the additions made, as JSON."""
    print(json.dumps({**golden(), "family": family()}))


def golden() -> dict[str, Any]:
    """The whole chain on the golden teacher, in this process: the loss, the stage, the metric."""
    from flows.cli.metrics_table import metrics_table
    from flows.recipes import chain_of, load_recipe
    from flows.run.planner import plan
    from flows.run.stage_flow import STAGE_FLOWS
    from flows.run.terminal import results
    from infra.store import open_store
    from tasks.evaluate.measured import read_metrics
    from tests.docs.reference import DOCS, filled
    from tests.golden.test_store import Here

    chain = chain_of(load_recipe("golden.yaml", ["reflow.loss=l1", "prompts.seed=5"]))
    do = Here(open_store("new"))
    planned = {line.id: f"{line.state} {line.total} {line.unit}" for line in plan(chain, do.store)}
    chain.replay(do)
    metrics = read_metrics(do.made["evaluate"].fetch("metrics.json"))
    screen = results()
    with screen.capture() as table:
        screen.print(metrics_table(metrics))
    return {
        "planned": planned,
        "flow": "vocabulary" in STAGE_FLOWS,
        "loss": do.made["reflow-1"].manifest.config["loss"],
        "words": json.loads(do.made["vocabulary"].fetch("words.json").read_text()),
        "brightness": [record.number("brightness") for record in metrics.records],
        "table": table.get(),
        "page": "Brightness" in do.made["report"].fetch("report.html").read_text(encoding="utf-8"),
        "docs": "`brightness`" in filled((DOCS / "metrics.md").read_text(encoding="utf-8")),
    }


def family() -> dict[str, Any]:
    """The chain on a tiny folder of the new family, and how far from ours stock diffusers draws its flows."""
    from flows.recipes import chain_of, load_recipe
    from infra.store import open_store
    from models.pipelines.opening import open_pipeline
    from tests.golden.test_store import Here

    aura_flow().save_pretrained("aura")
    told = ["name=aura", "teacher.path=aura", "pairs.solver=heun", "evaluate.teacher_solver=heun",
            "direct.enabled=false"]  # fmt: skip
    do = Here(open_store("new"))
    chain_of(load_recipe("golden.yaml", told)).replay(do)
    folders = [Path("aura"), *(do.made[stage].folder("model") for stage in ("reflow-1", "distill"))]
    return {
        "classes": [type(open_pipeline(folder)).__name__ for folder in folders],
        "stages": [*do.made],
        "gaps": [gap(folder) for folder in folders[1:]],
    }


def aura_flow() -> AuraFlowPipeline:
    """A tiny AuraFlow of random weights, for 32-pixel pictures."""
    import torch
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, FlowMatchEulerDiscreteScheduler
    from transformers import UMT5Config, UMT5EncoderModel

    from tests.models.pipelines.tiny import T5_WIDTH, autoencoder, t5_tokenizer

    torch.manual_seed(0)
    tokenizer = t5_tokenizer()
    text = UMT5Config(vocab_size=len(tokenizer), d_model=T5_WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=UMT5EncoderModel(text),
        vae=autoencoder(scaling_factor=0.13025),
        transformer=AuraFlowTransformer2DModel(
            sample_size=8, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=T5_WIDTH, caption_projection_dim=16, pos_embed_max_size=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )  # fmt: skip


def gap(folder: Path) -> float:
    """The largest difference of one guided step, ours and stock diffusers', over the scale of the latent."""
    import torch
    from diffusers import AuraFlowPipeline

    from models.pipelines.opening import open_pipeline

    model, pipeline = open_pipeline(folder), AuraFlowPipeline.from_pretrained(folder)
    prompt, side, noise = "a red circle", model.pixels_per_side, torch.randn(1, *model.latent_shape)
    told = {"num_inference_steps": 1, "guidance_scale": 3.0, "height": side, "width": side, "output_type": "latent"}
    theirs = pipeline(prompt, latents=noise, **told).images
    ours = model.sample(noise, [prompt], 1, 3.0, "euler")
    return float((ours - theirs).abs().max() / theirs.std())


if __name__ == "__main__":
    run()
