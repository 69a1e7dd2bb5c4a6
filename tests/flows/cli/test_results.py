"""What leaves the store: figures, models, a model by its everyday name."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from flows.algorithms.chain import Chain
from flows.cli.results import copy_report, embed, export_tree, last_artifact, model_source, report_file, save_picture
from flows.recipes import chain_of, parse_recipe
from infra.artifact import Artifact, Folder
from infra.artifact.manifest import Manifest
from infra.errors import UserError
from infra.store import Store, open_store
from infra.upkeep.naming import give_name
from models.pipelines.folder import MARKER
from tests.flows.kitchen import CHAIN, Kitchen
from tests.infra.chain import make
from tests.tasks.small_run import commit

TWICE = parse_recipe({"name": "test", "reflow": {"rounds": 2}}, "test")


def test_the_report_and_its_figures_are_copied_out(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run()
    out = tmp_path / "new" / "folder"
    assert copy_report(kitchen.store, "test", out) == out / "report.html"
    names = {"report.html", "contact_sheet.png", "metrics.json", "metrics.parquet"}
    assert {path.name for path in out.iterdir()} == names
    assert (out / "report.html").read_bytes() == kitchen.artifact("report").fetch("report.html").read_bytes()
    copy_report(kitchen.store, "test", out)  # again, over what is there


def test_figures_that_an_evaluation_does_not_have_are_left_out(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run()
    path = f"{kitchen.artifact('evaluate').base}/manifest.json"
    manifest = Manifest.from_bytes(kitchen.store.read(path), path)
    files = [file for file in manifest.files if file.name != "metrics.parquet"]
    kitchen.store.write(path, manifest.model_copy(update={"files": files}).to_bytes())
    copy_report(kitchen.store, "test", tmp_path / "out")
    assert not (tmp_path / "out" / "metrics.parquet").exists() and (tmp_path / "out" / "metrics.json").is_file()


def test_a_place_that_takes_no_figures_is_named(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run()
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match=r"^--out .*out: cannot write here: File exists\. Name a folder you may write"):
        copy_report(kitchen.store, "test", tmp_path / "out")


def test_a_recipe_without_a_run_says_how_to_run_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    with pytest.raises(UserError) as caught:
        copy_report(store, "mine", tmp_path / "out")
    assert str(caught.value) == (
        f"store {store.url}: recipe mine has no report here. Run it first (instaflow run mine --store {store.url})"
        " or name another store."
    )


def test_a_report_is_where_it_lies(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run()
    path = Path(report_file(kitchen.store, "test"))
    assert path.is_absolute() and path.read_text().startswith("report.html")
    away = open_store(f"memory://bucket{tmp_path}")
    for name in kitchen.store.list():
        away.write(name, kitchen.store.read(name))
    assert report_file(away, "test").startswith(f"{away.url}/report/")


def test_a_model_is_copied_as_from_pretrained_wants_it(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run()
    student, folder = kitchen.artifact("distill"), tmp_path / "student"
    assert export_tree(student, folder) is None
    assert (folder / "model_index.json").read_bytes() == (student.folder("model") / "model_index.json").read_bytes()
    with pytest.raises(UserError, match=r"student: is not empty\. Name a new folder"):
        export_tree(student, folder)


def test_an_export_holds_what_the_manifest_names(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run()
    student = kitchen.artifact("distill")
    (student.folder("model") / "pickle.bin").write_text("somebody's")
    export_tree(student, tmp_path / "student")
    assert [path.name for path in (tmp_path / "student").iterdir()] == ["model_index.json"]


def test_an_export_replaces_no_file_and_says_where_it_may_not_write(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run()
    student, there = kitchen.artifact("distill"), tmp_path / "there"
    there.write_text("mine")
    with pytest.raises(UserError, match=r"there: is a file\. Name a new folder, so that nothing of yours is replaced"):
        export_tree(student, there)
    assert there.read_text() == "mine"
    with pytest.raises(UserError, match=r"there/in: cannot write here: Not a directory\. Name a folder that you may"):
        export_tree(student, there / "in")
    with pytest.raises(UserError, match=r"cannot write here: (Permission denied|Read-only|No such file)"):
        export_tree(student, Path("/proc/student"))


@pytest.mark.parametrize(("asked", "hint"), [("studnet", " Did you mean student?"), ("best", "")])
def test_a_model_that_there_is_not_is_told_which_there_are(kitchen: Kitchen, asked: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        model_source(kitchen.store, asked, CHAIN)
    assert str(caught.value) == (
        f"model {asked}: there is no such model. Expected teacher, 2-rf, student, direct, an artifact"
        f" (stage/fingerprint), a name or a diffusers folder.{hint}"
    )


def test_a_converted_flow_is_exported_with_a_warning(kitchen: Kitchen, tmp_path: Path) -> None:
    model = tmp_path / "converted"
    model.mkdir()
    (model / MARKER).write_text('{"parameterization": "converted"}')
    folder = tmp_path / "flow"
    told = export_tree(commit(kitchen.store, "reflow-1", {"model": model}), folder)
    assert told is not None and told.startswith(f"{folder}: a converted flow") and "draws other pictures" in told
    assert (folder / "NOTE.txt").read_text().strip() in told


def test_what_is_no_model_is_told_what_is_one(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run(until=("prompts",))
    prompts = kitchen.artifact("prompts")
    with pytest.raises(UserError) as caught:
        export_tree(prompts, tmp_path / "out")
    assert str(caught.value) == (
        f"artifact {prompts.uri}: holds no folder to export; a teacher, adopt, reflow, distill, direct does."
    )
    with pytest.raises(UserError, match="holds no folder to export"):
        export_tree(make(kitchen.store, "unheard-of", {}), tmp_path / "out")


@pytest.fixture
def twice(kitchen: Kitchen) -> tuple[Store, Chain]:
    """A store in which a recipe of two rounds was run."""
    kitchen.run(TWICE)
    return kitchen.store, chain_of(TWICE)


@pytest.mark.parametrize(("role", "stage_id"), [("2-rf", "reflow-2"), ("student", "distill"), ("direct", "direct")])
def test_a_role_is_what_the_last_run_made_of_it(twice: tuple[Store, Chain], role: str, stage_id: str) -> None:
    store, chain = twice
    found = model_source(store, role, chain)
    assert found.digest == last_artifact(store, "test", stage_id).digest
    if role == "2-rf":
        assert found.digest != last_artifact(store, "test", "reflow-1").digest, "it is the last round's"


def test_the_teacher_is_where_the_recipe_has_it(twice: tuple[Store, Chain], weights: Path, tmp_path: Path) -> None:
    store, chain = twice
    assert model_source(store, "teacher", chain).folder("model") == weights / "teacher"
    trained = chain_of(parse_recipe({"name": "test", "train_teacher": {}}, "test"))
    with pytest.raises(UserError, match="recipe test has no teacher here"):
        model_source(store, "teacher", trained)


def test_a_model_by_the_name_that_it_was_given(kitchen: Kitchen) -> None:
    kitchen.run(until=("distill",))
    made = kitchen.artifact("distill")
    give_name(made, "sd15-v3")
    found = model_source(kitchen.store, "sd15-v3", CHAIN)
    assert isinstance(found, Artifact) and found.uri == made.uri


def test_any_model_has_a_name(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run(until=("reflow-1",))
    made, folder = kitchen.artifact("reflow-1"), tmp_path / "mine"
    assert model_source(kitchen.store, made.base, CHAIN).digest == made.digest
    folder.mkdir()
    with pytest.raises(UserError, match=r"mine: no manifest\.json"):
        model_source(kitchen.store, str(folder), CHAIN)
    (folder / "model_index.json").write_text("{}")
    found = model_source(kitchen.store, str(folder), CHAIN)
    assert isinstance(found, Folder) and found.path == folder


def test_a_role_that_the_recipe_does_not_make_is_told_so(kitchen: Kitchen) -> None:
    chain = chain_of(parse_recipe({"name": "test", "direct": {"enabled": False}}, "test"))
    with pytest.raises(UserError, match="model direct: the recipe test makes none"):
        model_source(kitchen.store, "direct", chain)


def test_a_picture_is_written_or_the_option_named(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 4), "red")
    save_picture(picture, tmp_path / "new" / "red.png")
    assert Image.open(tmp_path / "new" / "red.png").size == (4, 4)
    for name in ("red.docx", "new"):
        with pytest.raises(UserError, match=rf"^--out .*{name}: cannot write the picture: .*\. Name a \.png"):
            save_picture(picture, tmp_path / name)


def _trained(kitchen: Kitchen, steps: int = 5) -> dict[str, Artifact]:
    data = {"name": "test", "train_teacher": {"steps": steps, "warmup_steps": 1}, "train_clip": {}}
    kitchen.run(parse_recipe(data, "test"), only=("world", "teacher", "clip"))
    return {name: last_artifact(kitchen.store, "test", name) for name in ("teacher", "clip")}


def _content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_is_embedded_is_replaced_and_tells_nobody_where_it_was_made(kitchen: Kitchen, tmp_path: Path) -> None:
    folder = tmp_path / "embedded"
    embed(_trained(kitchen), folder)
    before, made = _content(folder), _trained(kitchen, 6)
    assert embed(made, folder) == folder
    assert _content(folder)["teacher/model_index.json"] != before["teacher/model_index.json"]
    assert {*_content(folder)} == {
        "teacher/model_index.json", "clip/model_index.json", "teacher.manifest.json", "clip.manifest.json",
    }  # fmt: skip
    manifest = _manifest(folder / "teacher.manifest.json")
    assert manifest.digest == made["teacher"].digest, "it is the same artifact"
    for told in (manifest.environment, *manifest.environments):
        assert not {"host", "platform"} & told.keys() and "torch" in told
    assert [record.uri for record in manifest.inputs] == [last_artifact(kitchen.store, "test", "world").base]
    assert str(tmp_path) not in (folder / "teacher.manifest.json").read_text()


def test_what_somebody_else_put_there_is_not_replaced(kitchen: Kitchen, tmp_path: Path) -> None:
    made, folder = _trained(kitchen), tmp_path / "embedded"
    (folder / "teacher").mkdir(parents=True)
    (folder / "teacher" / "mine.bin").write_text("a year of work")
    with pytest.raises(UserError, match=r"embedded/teacher: would be replaced, and is not what was put there before"):
        embed(made, folder)
    assert _content(folder) == {"teacher/mine.bin": "a year of work"}
    (folder / "teacher").rename(folder / "mine")
    embed(made, folder)
    for name, text in {"teacher/notes.txt": "mine, too", "clip/model_index.json": "changed"}.items():
        (folder / name).write_text(text)
        with pytest.raises(UserError, match=rf"embedded/{name.partition('/')[0]}: would be replaced"):
            embed(made, folder)
        assert (folder / name).read_text() == text
        (folder / name).unlink()
    (folder / "clip").rmdir()
    (folder / "clip").symlink_to(tmp_path)
    with pytest.raises(UserError, match="embedded/clip: would be replaced"):
        embed(made, folder)


def test_what_is_embedded_stays_until_the_new_one_is_whole(kitchen: Kitchen, tmp_path: Path) -> None:
    folder = tmp_path / "embedded"
    embed(_trained(kitchen), folder)
    before, made = _content(folder), _trained(kitchen, 6)
    file = made["clip"].files("clip/*")[0]
    kitchen.store.delete(f"{made['clip'].base}/{file.path}")
    with pytest.raises(UserError, match="the file is missing"):
        embed(made, folder)
    assert _content(folder) == before


def _manifest(path: Path) -> Manifest:
    return Manifest.from_bytes(path.read_bytes(), str(path))
