"""What a person does in Prefect's pages, from login to a stage that a worker did; and what nobody is told."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from flows.server.local import Endpoint, state_folder
from infra.artifact import Artifact
from infra.store import open_store
from tasks.sections import PairsJob
from tests.browser import browser
from tests.workers.conftest import CANARY, House

SCREEN = 900
JOB = PairsJob(steps=4, shard_size=32)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser(height=SCREEN) as found:
        yield found


def test_a_stage_is_started_from_its_form_alone(page: Page, house: House) -> None:
    """A new teacher's pairs by pages alone; the pipeline's form takes two screens."""
    endpoint, store = _endpoint(), open_store(house.folder / "by-form")
    root = endpoint.url.removesuffix("/api")
    page.goto(f"{root}/deployments")
    page.locator("input[type=password]").fill(endpoint.auth or "")
    page.keyboard.press("Enter")
    page.wait_for_url("**/deployments")

    _open_form(page, root, house, "instaflow/instaflow", "overrides (Optional)")
    assert page.locator(".app-router-view").evaluate("e => e.scrollHeight") <= 2 * SCREEN

    _open_form(page, root, house, "pairs/cpu", "config")
    _field(page, "Steps (Optional)").locator("input").fill(str(JOB.steps))
    _field(page, "Shard Size (Optional)").locator("input").fill(str(JOB.shard_size))
    _field(page, "inputs").locator("textarea").fill(json.dumps({"teacher": "mini", "prompts": house.prompts.uri}))
    _field(page, "store").locator("textarea").fill(store.url)
    _submit(page)
    house.wait(house.newest("pairs/cpu"), "Completed")
    (manifest,) = [path for path in store.list("pairs") if path.endswith("/manifest.json")]
    expected = house.undisturbed(JOB, open_store(house.folder / "by-hand"))
    assert Artifact.find(store, manifest.removesuffix("/manifest.json")).digest == expected.digest


def test_no_secret_is_told_to_anyone(house: House) -> None:
    """Not by the API, whatever it is asked, nor in a log, a record or an artifact; after all that was done here."""
    endpoint = _endpoint()
    secrets = [CANARY, (endpoint.auth or "").partition(":")[2]]
    told = {path: answer for path, answer in _answers(endpoint)}
    asked = {"/logs/filter", "/flow_runs/filter", "/admin/settings", "/block_documents/filter", "/events/filter"}
    assert asked < {*told} and all(b"pairs" in told[path] for path in ("/logs/filter", "/flow_runs/filter"))
    files = [path for folder in (house.folder, state_folder()) for path in folder.rglob("*") if path.is_file()]
    told |= {str(path): path.read_bytes() for path in files if path.name not in ("server.json", "server-password")}
    assert [path for path in told if path.endswith("worker-cpu-0.log")] and [path for path in told if "/runs/" in path]
    assert not [path for path, answer in told.items() for secret in secrets if secret.encode() in answer]


def _endpoint() -> Endpoint:
    return Endpoint(**json.loads((state_folder() / "server.json").read_text()))


def _answers(endpoint: Endpoint) -> Iterator[tuple[str, bytes]]:
    """Of every route that tells without being told an id; without the password none answers, but whether it is well."""
    user, _, password = (endpoint.auth or "").partition(":")
    with httpx.Client(timeout=60) as stranger, httpx.Client(timeout=60, auth=(user, password)) as owner:
        routes: dict[str, dict[str, object]] = owner.get(f"{endpoint.url}/openapi.json").json()["paths"]
        routes |= {f"/work_pools/{pool}/workers/filter": {"post": {}} for pool in ("cpu", "gpu")}
        asks = [(path, method) for path, methods in routes.items() for method in methods if "{" not in path]
        for path, method in asks:
            if method == "get" or path.endswith("/filter"):
                body = {} if method == "post" else None
                answer = owner.request(method, f"{endpoint.url}{path}", json=body)
                assert answer.status_code in (200, 422), path
                yield path, answer.content
                refused = stranger.request(method, f"{endpoint.url}{path}", json=body)
                assert refused.status_code == (200 if path in ("/health", "/ready") else 401), path


def _open_form(page: Page, root: str, house: House, deployment: str, label: str) -> None:
    page.goto(f"{root}/deployments/deployment/{house.client.read_deployment_by_name(deployment).id}/run")
    _label(page, label).wait_for()


def _submit(page: Page) -> None:
    """Once more where it is not taken, as a person does: a busy server may not answer the first time."""
    said = ""
    for _ in range(3):
        page.get_by_role("button", name="Submit").click()
        try:
            page.wait_for_url(lambda url: not url.endswith("/run"))
        except PlaywrightTimeout:
            said = page.locator("body").inner_text()
        else:
            return
    pytest.fail(f"the form is not taken:\n{said}")


def _label(page: Page, name: str) -> Locator:
    return page.locator(".schema-form-property__label").get_by_text(name, exact=True)


def _field(page: Page, name: str) -> Locator:
    return page.locator(".p-label.schema-form-property").filter(has=_label(page, name)).last
