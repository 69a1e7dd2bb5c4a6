"""What a run needs is looked at before it is missed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from flows.algorithms.instaflow import Recipe
from flows.cli import doctor
from flows.cli.app import app
from flows.cli.doctor import Finding, examine
from flows.recipes import chain_of, parse_recipe
from flows.run import sources
from infra.artifact import Draft
from infra.environment import utc_now
from infra.recipe import apply_overrides
from infra.store import open_store
from infra.store.local import LocalStore
from tests.s3 import S3Server

RECIPE = parse_recipe({"name": "test"}, "test")


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Embedded weights, each with the manifest of the artifact it was exported from."""
    folder = tmp_path / "weights"
    for tree, called in sources.EMBEDDED:
        name = sources.EMBEDDED[tree, called].name
        (folder / name).mkdir(parents=True)
        (folder / name / "weights.txt").write_text(name)
        with Draft(open_store(tmp_path / "made"), name, "0" * 64) as draft:
            draft.commit_unit(tree, {tree: folder / name})
            manifest = draft.finish([tree], 1, {}, {}, {}, {}, utc_now()).manifest
        (folder / f"{name}.manifest.json").write_bytes(manifest.to_bytes())
        monkeypatch.setitem(sources.EMBEDDED, (tree, called), folder / name)
    return folder


def _found(tmp_path: Path, recipe: Recipe | None = None) -> dict[str, Finding]:
    chain = chain_of(recipe) if recipe else None
    return {finding.name: finding for finding in examine(str(tmp_path / "store"), chain)}


def _text(found: dict[str, Finding], name: str) -> str:
    """What a check that failed said."""
    assert not found[name].is_well
    return found[name].text


def test_all_is_well(tmp_path: Path) -> None:
    found = _found(tmp_path, RECIPE)
    assert all(one.is_well for one in found.values()), found
    own = {"store", "disk", "packages", "torch", "driver", "prefect", "weights", "preflight"}
    assert own < {*found} and all(name == "devices" or name.startswith("cuda:") for name in {*found} - own)
    assert "creates a name once" in found["store"].text and torch.__version__ in found["torch"].text
    assert open_store(tmp_path / "store").list() == [], "nothing is left behind"


def test_the_command_has_a_line_each_and_an_exit_code(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _impatient(monkeypatch)  # the command would set its own for the tests that follow
    run = CliRunner().invoke(app, ["doctor", "tiny", "--store", str(tmp_path / "store")])
    assert run.exit_code == 0 and len(run.stdout.splitlines()) == 8 + max(1, torch.cuda.device_count())
    shutil.rmtree(weights / "clip")
    run = CliRunner().invoke(app, ["doctor", "--store", str(tmp_path / "store")])
    assert run.exit_code == 1
    assert [
        line
        for line in run.stdout.splitlines()
        if line.startswith("FAIL weights: ") and "weights.txt is missing" in line
    ]


def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATIENCE_S", "TIMEOUT_S"):
        monkeypatch.setenv(f"INSTAFLOW_STORE_{name}", "0.5")


def test_a_store_that_is_down(rclone: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    _impatient(monkeypatch)
    for name, value in {**rclone.environment(), "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    text = _text({one.name: one for one in examine("s3://bucket/store")}, "store")
    assert "store s3://bucket/store: cannot read the root: " in text and "INSTAFLOW_STORE_PATIENCE_S=0.5" in text


def test_the_command_does_not_wait_for_a_store_that_is_down(rclone: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    _impatient(monkeypatch)  # so that what the command sets is unset again after the test
    for name in ("PATIENCE_S", "TIMEOUT_S"):
        monkeypatch.delenv(f"INSTAFLOW_STORE_{name}")
    for name, value in {**rclone.environment(), "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    told = CliRunner().invoke(app, ["doctor", "--store", "s3://bucket/store"]).stdout
    assert "INSTAFLOW_STORE_PATIENCE_S=5, INSTAFLOW_STORE_TIMEOUT_S=5" in told


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    assert "Check that it is a folder you may read" in _text(_found(tmp_path), "store")
    assert "cannot write doctor/" in _text({one.name: one for one in examine("/proc/store")}, "store")


def test_a_store_without_create_once_is_said_to_be_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStore, "create", lambda self, path, data: self.write(path, data) or True)
    found = _found(tmp_path)["store"]
    assert found.is_well and "harmless" in found.text


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_free", lambda path: 10**12 if path.name == "store" else 10**6)
    assert _text(_found(tmp_path), "disk").endswith("Make room, or set TMPDIR or INSTAFLOW_CACHE.")


def test_a_machine_without_a_device_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "_DRIVER", tmp_path / "absent")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = _found(tmp_path)
    assert found["driver"].text == "none: no NVIDIA driver is loaded here"
    assert "CPU threads and no GPU" in found["devices"].text
    (tmp_path / "driver").write_text(VERSION)
    monkeypatch.setattr(doctor, "_DRIVER", tmp_path / "driver")
    assert "580.65.06: of no use to torch" in _text(_found(tmp_path), "driver")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # nothing is amiss: that was asked for
    assert _found(tmp_path)["driver"].text == "580.65.06; CUDA_VISIBLE_DEVICES is ''"


VERSION = """NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14+deb12u1)
"""


def test_every_device_has_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with two of which one is broken; that they are real ones can only be seen where there are any."""

    def free(number: int) -> tuple[int, int]:
        if number:
            raise RuntimeError("CUDA error: out of memory\nmore")
        return 70_000_000_000, 80_000_000_000

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"Card {number}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", free)
    found = _found(tmp_path)
    assert found["cuda:0"].text == "Card 0, 70 GB of 80 GB free" and "devices" not in found
    assert _text(found, "cuda:1").startswith("cannot be used: CUDA error: out of memory. Leave it out of CUDA_VISIBLE")


def test_packages_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["prefect<2", "numpy>=1", "no-such-thing>=3", 'pytest<1; extra == "dev"']
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: wanted)
    text = _text(_found(tmp_path), "packages")
    assert "prefect 3." in text and "instead of <2" in text and "no-such-thing None" in text
    assert "numpy" not in text and "pytest" not in text and "make install" in text


def test_weights_of_another_content(tmp_path: Path, weights: Path) -> None:
    (weights / "teacher" / "weights.txt").write_text("other")
    assert "weights.txt is missing or damaged" in _text(_found(tmp_path), "weights")
    (weights / "teacher.manifest.json").unlink()
    assert "teacher.manifest.json is missing" in _text(_found(tmp_path), "weights")


def test_what_a_recipe_names(tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "vgg.pth").write_text("trunk")
    missing = f"{tmp_path}/absent.pth"
    recipe = apply_overrides(
        RECIPE,
        [
            f"teacher.path={tmp_path / 'teacher'}",
            f"distill.perceptual={{kind: lpips, trunk_weights: {tmp_path / 'vgg.pth'}}}",
            f"evaluate.inception_weights={missing}",
        ],
    )
    found = _found(tmp_path, recipe)
    assert f"inception_weights: {missing}: no such file" in _text(found, "evaluate")
    assert found["distill"].is_well and "vgg.pth: digest" in found["distill"].text
    assert f"{tmp_path / 'teacher'}: there, digest" in found[f"model {tmp_path / 'teacher'}"].text
    amiss = _text(found, "preflight")
    assert amiss.startswith("3 things are in the way of test: teacher.path: ") and "no model_index.json" in amiss
    assert f"distill.perceptual.trunk_weights: {tmp_path / 'vgg.pth'}: no whole file of weights" in amiss
    assert f"evaluate.inception_weights: {missing}: no such file" in amiss


@pytest.fixture
def answer() -> Iterator[dict[str, object]]:
    """A server that says what it is told to: `status` and `body`; it answers at `url`."""
    said: dict[str, object] = {"status": 200, "body": b'"0.0.1"'}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(str(said["status"])))
            self.end_headers()
            self.wfile.write(bytes(said["body"]))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    said["url"] = f"http://127.0.0.1:{server.server_port}/api"
    Thread(target=server.serve_forever, daemon=True).start()
    yield said
    server.shutdown()


def test_a_prefect_server(tmp_path: Path, answer: dict[str, object]) -> None:
    url = str(answer["url"])
    with temporary_settings({PREFECT_API_URL: url}):
        assert f"{url}: the server is version 0.0.1" in _text(_found(tmp_path), "prefect")
        answer["status"] = 503
        assert "answers with HTTP 503" in _text(_found(tmp_path), "prefect")
        answer["status"] = 401
        assert "asks for its password" in _found(tmp_path)["prefect"].text
        answer.update(status=200, body=f'"{doctor._version("prefect")}"'.encode())
        assert _found(tmp_path)["prefect"].is_well
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert "http://127.0.0.1:9/api: no server answers" in _text(_found(tmp_path), "prefect")
    for rest in ("user:hunter2@127.0.0.1:9/api", "127.0.0.1:hunter2/api", "127.0.0.1:9/api?token=hunter2"):
        with temporary_settings({PREFECT_API_URL: f"http://{rest}"}):
            text = _text(_found(tmp_path), "prefect")
            assert "PREFECT_API_URL http://127.0.0.1:" in text and "carries a" in text and "hunter2" not in text
