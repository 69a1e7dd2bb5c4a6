"""A team's server: its records in PostgreSQL, behind a password, started as its image starts it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.server.local import Endpoint
from infra.store import open_store
from infra.upkeep.runs import list_runs
from tests.flows.conftest import Cli
from tests.postgres import Database, postgres, prefect_server

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres() as found:
        yield found


@pytest.fixture(scope="module")
def server(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Endpoint, Path]]:
    """A server, and its home."""
    home = tmp_path_factory.mktemp("server")
    with prefect_server(home, database) as endpoint:
        yield endpoint, home


def test_a_run_reports_to_a_server_on_postgresql(
    server: tuple[Endpoint, Path], database: Database, cli: Cli, tmp_path: Path
) -> None:
    endpoint, home = server
    run = cli("run", "tiny", "--until", "prompts", **endpoint.environment())
    assert run.returncode == 0, run.stderr
    (record,) = list_runs(open_store(tmp_path / "store"))
    assert record.state == "done"
    with (
        temporary_settings({PREFECT_API_URL: endpoint.url, PREFECT_API_AUTH_STRING: endpoint.auth}),
        get_client(sync_client=True) as client,
    ):
        runs = client.read_flow_runs()
    assert {one.state_name for one in runs} == {"Completed"} and {"world", "prompts"} <= {one.name for one in runs}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{endpoint.url}/admin/version")
    written = "".join(path.read_text(errors="replace") for path in home.rglob("*") if path.is_file())
    assert database.password not in written + run.stderr and str(endpoint.auth) not in written + run.stderr
    assert not [*home.rglob("*.db")], "nothing lies in a file beside it"
