"""What a person does in Prefect's pages: log in, fill in the form of a stage, have a worker do it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from flows.server.local import Endpoint
from infra.artifact import Artifact
from infra.store import open_store
from tasks.sections import PairsJob
from tests.browser import browser
from tests.workers.conftest import House

SCREEN = 900
JOB = PairsJob(steps=4, shard_size=32)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser(height=SCREEN) as found:
        yield found


def test_a_stage_is_started_from_its_form_alone(page: Page, house: House) -> None:
    """A new teacher's pairs by pages alone; the pipeline's form takes two screens."""
    door = Path(os.environ["PREFECT_HOME"]) / "server.json"
    endpoint, store = Endpoint(**json.loads(door.read_text())), open_store(house.folder / "by-form")
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
