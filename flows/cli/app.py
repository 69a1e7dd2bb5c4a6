"""The command line. Heavy imports are made inside the commands that need them; `plan` needs none."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from flows.cli.artifacts import artifacts
from flows.cli.machines import machines
from flows.cli.naming import models
from flows.cli.options import DEFAULT_STORE, StoreUrl
from flows.recipes import chain_of, load_recipe
from flows.run.terminal import say
from infra.address import public
from infra.errors import UserError
from infra.store import Store, open_store
from tasks.sections import Recipe

if TYPE_CHECKING:
    from flows.run.selection import Choice

app = typer.Typer(
    help="Rectified flow for text-to-image models: teacher pairs, reflow, distillation to one step.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(artifacts, name="artifacts")
app.add_typer(models, name="models")
app.add_typer(machines)

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="a bundled recipe's name or a YAML file")]
RecipeOption = Annotated[str, typer.Option("--recipe", help="whose last run names like `student` refer to")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="set a recipe field: pairs.steps=10")
]


def main() -> None:
    """Run the command line; a UserError becomes its message and exit code 2."""
    _quiet_prefect()
    try:
        app()
    except UserError as error:
        Console(stderr=True, highlight=False, markup=False).print(f"instaflow: {error}", soft_wrap=True)
        sys.exit(2)


def _quiet_prefect() -> None:
    """No telemetry; Prefect's log lines go to its server, and errors reach the user as exceptions."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


def _load(recipe: str, overrides: list[str] | None) -> Recipe:
    return load_recipe(recipe, overrides or ()).seeded()


@app.command()
def run(
    recipe: RecipeName = "mini",
    overrides: Overrides = None,
    store: StoreUrl = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option("--out", help="folder to leave the report and the figures in")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="STAGES", help="run these alone: pairs,reflow-1")] = None,
    start: Annotated[list[str] | None, typer.Option("--from", metavar="STAGES", help="leave out what precedes")] = None,
    until: Annotated[list[str] | None, typer.Option(metavar="STAGES", help="run these and what they need")] = None,
    force: Annotated[list[str] | None, typer.Option(metavar="STAGES", help="redo these, cached or not")] = None,
) -> None:
    """Run a recipe from prompts to report; what has been made before is not made again."""
    from flows.run.selection import Choice

    choice = Choice(only=_names(only), start=_names(start), until=_names(until), force=_names(force))
    _run(recipe, overrides or [], open_store(store), choice, out)


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER_OR_MODEL",
            help="a diffusers folder, one of pictures, an artifact (stage/fingerprint), a name, or student, 2-rf, ...",
        ),
    ],
    preset: Annotated[
        str, typer.Option(help="how it is measured: coco2017-5k, coco2014-30k, mini-1k or a YAML file like these")
    ],
    steps: Annotated[str | None, typer.Option(metavar="N,N,...", help="numbers of solver steps")] = None,
    guidance: Annotated[
        str | None, typer.Option(metavar="W,W,...", help="guidance scales; several draw the curve over them")
    ] = None,
    overrides: Overrides = None,
    store: StoreUrl = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option("--out", help="folder to leave the report and the figures in")] = None,
    recipe: RecipeOption = "mini",
) -> None:
    """Measure any model, or a folder of pictures, as a preset says."""
    from flows.cli.measuring import asked, measuring
    from flows.run.selection import EVERYTHING

    where = open_store(store)
    wanted, names = asked(model, steps, guidance), chain_of(_load(recipe, None))
    _run(preset, measuring(wanted, preset, overrides or (), where, names), where, EVERYTHING, out)


def _run(recipe: str, overrides: list[str], where: Store, choice: Choice, out: Path | None) -> None:
    from flows.run.preflight import preflight
    from flows.run.selection import require_inputs, select

    chosen = _load(recipe, overrides)
    chain = chain_of(chosen)
    preflight(chain)
    require_inputs(chain, where, select(chain, choice))
    from flows.run import opened
    from flows.server.connection import connected

    with opened.remembering():
        with connected(meanwhile=_import_engine):
            from flows.pipeline import PIPELINES

            made = PIPELINES[chosen.algorithm](where.url, recipe, overrides, choice)
        if made is None:
            print("report: left out of this run")
        elif "report" in chain.nodes:
            _say_where(where, chosen, out)
        else:
            print(made)


def _import_engine() -> None:
    """What every run imports sooner or later: half a second that the server's start takes anyway."""
    import fastapi.encoders  # noqa: F401
    import prefect.flow_engine  # noqa: F401
    import prefect.task_engine  # noqa: F401

    import flows.pipeline  # noqa: F401


def _names(options: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for option in options or () for name in option.split(",") if name.strip())


def _say_where(store: Store, recipe: Recipe, out: Path | None) -> None:
    from flows.cli.metrics_table import metrics_table
    from flows.cli.results import copy_report, last_artifact, report_file
    from tasks.evaluate.measured import read_metrics

    report = copy_report(store, recipe.name, out) if out else report_file(store, recipe.name)
    measured = last_artifact(store, recipe.name, "evaluate").fetch("metrics.json")
    say(metrics_table(read_metrics(measured)))
    print(f"report: {report}")


@app.command()
def plan(
    recipe: RecipeName = "mini",
    overrides: Overrides = None,
    store: StoreUrl = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON list for machines")] = False,
) -> None:
    """Say for each stage whether it is cached, to be resumed or to be run, why, and what that may take."""
    from flows.run.planner import plan as make_plan
    from flows.run.preflight import preflight

    chain, where = chain_of(_load(recipe, overrides)), open_store(store)
    preflight(chain)
    stages = make_plan(chain, where)
    if as_json:
        print(json.dumps([asdict(stage) for stage in stages], indent=2))
        return
    from flows.cli.plan_table import plan_table
    from flows.run.costs import read_site

    say(plan_table(stages, read_site()))


@app.command()
def status(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="show its stages; its first letters do")] = None,
    store: StoreUrl = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON: all runs in a list, or the one")] = False,
) -> None:
    """Show the last runs in a store, newest first, or all that is known of one."""
    from flows.cli.status_table import find_run, run_facts, run_table, runs_table
    from flows.run.costs import read_site
    from infra.upkeep.runs import list_runs

    runs, now, site = list_runs(open_store(store)), datetime.now(UTC), read_site()
    one = find_run(runs, run) if run is not None else None
    if as_json:
        print(
            json.dumps(
                run_facts(one, now, site) if one else [run_facts(each, now, site) for each in reversed(runs)], indent=2
            )
        )
    elif one:
        say(run_table(one, now, site))
    else:
        say(runs_table(runs, now) if runs else f"no runs in {store} yet")


@app.command()
def dashboard(
    out: Annotated[
        str | None, typer.Option("--out", metavar="FOLDER", help="a folder of its own, local or s3://BUCKET/PATH")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="show it on 127.0.0.1 instead, kept up to date")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on 127.0.0.1; 0 is a free one")] = 4210,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Write a site of static pages: what runs, what ran, what came out. Only files that changed are written."""
    if serve == (out is not None):
        raise UserError("instaflow dashboard: say --out FOLDER to write it, or --serve to show it.")
    if out is not None:
        from flows.dashboard.site import build

        there = open_store(out)
        written = build(open_store(store), there, datetime.now(UTC))
        print(f"{there.url}/index.html ({written.changed} of {written.files} files changed, {written.removed} removed)")
        return
    from flows.dashboard.serving import AUTH, password, serving

    screen = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with password() as (auth, door), serving(open_store(store), port, auth) as url:
        screen.print(f"{url}  (asks for {door or AUTH}; Ctrl-C stops)", soft_wrap=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            screen.print("stopping")


@app.command()
def track(
    tracker: Annotated[Literal["tensorboard", "mlflow", "wandb"], typer.Argument(help="each is an extra of its name")],
    where: Annotated[
        str, typer.Argument(metavar="FOLDER", help="a folder; of MLflow also a server's address, http://HOST:PORT")
    ],
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Tell a tracker of every training and evaluation: curves, numbers, config. Told twice, nothing changes."""
    from flows.tracking.telling import tell

    told = tell(open_store(store), tracker, where, datetime.now(UTC))
    print(f"{public(where)}: {told.runs} runs, {told.new} of them new")


@app.command()
def doctor(
    recipe: Annotated[str | None, typer.Argument(metavar="[RECIPE]", help="look at what it names, too")] = None,
    overrides: Overrides = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Check what a run needs: store, disks, packages, device, Prefect, weights. Exit code 1 if something is amiss."""
    from flows.cli.doctor import examine

    for name in ("INSTAFLOW_STORE_PATIENCE_S", "INSTAFLOW_STORE_TIMEOUT_S"):
        os.environ.setdefault(name, "5")  # who asks for a diagnosis does not wait for the store to come back
    findings = []
    for finding in examine(store, chain_of(_load(recipe, overrides)) if recipe else None):
        say(f"{'ok  ' if finding.is_well else 'FAIL'} {finding.name}: {finding.text}")
        findings.append(finding)
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(1)


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="what the picture shows")],
    model: Annotated[
        str,
        typer.Option(
            help="student, direct, 2-rf, teacher, a name, an artifact (stage/fingerprint) or a diffusers folder"
        ),
    ] = "student",
    steps: Annotated[int, typer.Option(min=1, help="solver steps")] = 1,
    out: Annotated[Path, typer.Option(help="the PNG to write")] = Path("out.png"),
    seed: Annotated[int, typer.Option(min=0, help="seed of the noise")] = 0,
    guidance: Annotated[float, typer.Option(min=0.0, help="guidance scale; 1 is off, as the student wants it")] = 1.0,
    store: StoreUrl = DEFAULT_STORE,
    recipe: RecipeOption = "mini",
) -> None:
    """Draw one picture."""
    from flows.cli.results import model_source, save_picture

    source = model_source(open_store(store), model, chain_of(_load(recipe, None)))
    from tasks.data.generate import generate as draw

    save_picture(draw(source, prompt, steps=steps, seed=seed, guidance=guidance), out)
    print(out)


@app.command()
def report(
    recipe: RecipeName = "mini",
    store: StoreUrl = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option("--out", help="folder to leave the report and the figures in")] = None,
) -> None:
    """Say where the report of a recipe's last run is, or copy it and the figures out."""
    _say_where(open_store(store), _load(recipe, None), out)


@app.command()
def export(
    artifact: Annotated[str, typer.Argument(help="stage/fingerprint, its first digits will do, a name, or a full URI")],
    folder: Annotated[Path, typer.Argument(help="a new folder")],
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Copy a model out of the store, in the format that diffusers' from_pretrained reads."""
    from flows.cli.results import export_tree
    from infra.artifact import Artifact

    note = export_tree(Artifact.find(open_store(store), artifact), folder)
    if note:
        Console(stderr=True, highlight=False).print(note, style="yellow")
    print(folder)


@app.command()
def mini(
    recipe: RecipeName = "weights",
    overrides: Overrides = None,
    store: StoreUrl = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option("--out", help="default: where the embedded weights live")] = None,
) -> None:
    """Train the miniature teacher and CLIPs from scratch and put them where the embedded ones live."""
    chosen, where = _load(recipe, overrides), open_store(store)
    from flows.cli.results import embed, last_artifact, require_ours
    from flows.run.sources import WEIGHTS
    from flows.server.connection import connected

    stages = {"teacher": "teacher", "clip": "clip", "judge": "clip-judge"}
    require_ours(stages, out or WEIGHTS)  # before an hour of training
    with connected(meanwhile=_import_engine):
        from flows.pipeline import PIPELINES

        PIPELINES["miniature"](where.url, recipe, overrides or [])
    made = {name: last_artifact(where, chosen.name, stage_id) for name, stage_id in stages.items()}
    print(embed(made, out or WEIGHTS))


_ANSWERS_WITHIN_S = 60.0  # on a machine that is very busy


@app.command()
def server(port: Annotated[int, typer.Option(min=0, max=65535, help="port on 127.0.0.1")] = 4200) -> None:
    """Open the Prefect server on the records of earlier runs; runs started meanwhile report to it."""
    from flows.server.local import local_server, open_door

    screen = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with local_server(port, with_ui=True) as endpoint, open_door(endpoint) as door:
        screen.print(
            f"{endpoint.url.removesuffix('/api')}  (the UI asks for the `auth` in {door}; Ctrl-C stops)", soft_wrap=True
        )
        try:
            while endpoint.is_up(_ANSWERS_WITHIN_S):
                time.sleep(1)
        except KeyboardInterrupt:
            screen.print("stopping")
