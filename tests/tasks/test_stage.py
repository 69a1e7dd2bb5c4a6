"""A stage's identity, its cache, and the one loop over its units: nothing is made twice, nothing gets lost."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import Field, JsonValue

from infra import stopping
from infra.artifact import MANIFEST, Artifact, Draft, Folder, base_of, draft
from infra.artifact.fingerprint import fingerprint
from infra.artifact.redo import FORCED, redo_all, redo_units, why_redo
from infra.errors import UserError
from infra.recipe import ASIDE, Section
from infra.store import Store, open_store
from infra.upkeep.adding import add
from infra.upkeep.verify import damages
from tasks.progress import Progress, silent
from tasks.sections import Evaluate, Performance, Prompts, World
from tasks.share import Share
from tasks.stage import (
    Job,
    StageResult,
    StageWork,
    Units,
    Work,
    find_cached,
    make_share,
    named_files,
    named_paths,
    run_stage,
    stage_fingerprint,
)
from tasks.stages import STAGES, Extent, Group, Stage, Unit
from tests.infra.counted import aged
from tests.infra.test_full_disk import files_end_at
from tests.tasks.conftest import PERF, Killed, killed_after

WORLD = STAGES["world"]


class Text(Section):
    """What to write."""

    text: str = "made"


class Letters(StageWork[Text]):
    """A unit per letter, and at the end the word that they make."""

    def make(self, group: Group) -> None:
        """Write the letters of a group that are not there yet, one by one; a lone one is not there, says the loop."""
        for unit in group:
            if len(group) == 1 or not self.out.has(unit.id):
                self._commit(unit.id, f"{unit.id} {self.config.text}")
                self.work.advance(unit.pieces)

    def finish(self, units: Units) -> StageResult:
        """Put the word together."""
        self._commit("word", " ".join(self.out.fetch(unit.files[0]).read_text() for unit in units.values()))
        letters: list[JsonValue] = [*units]
        return StageResult(metrics={"letters": letters}, seeds={"letters": 3})

    def _commit(self, unit: str, text: str) -> None:
        path = self.out.workdir / f"{unit}.txt"
        path.write_text(text)
        self.out.commit_unit(unit, {path.name: path}, rows=1)


def extent(config: Text, roles: Collection[str]) -> Extent:
    groups = ((Unit("a", 2),), (Unit("b", 2),), (Unit("c"), Unit("d")))
    return Extent(groups, piece="letters", merged=("word",))


LETTERS = Stage("letters", 1, Text, f"{__name__}:Letters", "Write letters", extent)
ONE = replace(LETTERS, extent=lambda config, roles: Extent(((Unit("a"),),), piece="letters", merged=("word",)))
LONE = Extent(((Unit("a"),),), piece="letters")
BASE = base_of("letters", stage_fingerprint(LETTERS, Text(), {}))


def write(store: Store, progress: Progress = silent, stage: Stage = LETTERS) -> Artifact:
    return run_stage(stage, Text(), {}, store, PERF, progress)


class Points:
    """Notes the steps of the commit protocol, and does what a test asks for when one of them is reached."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self._asked: dict[str, tuple[Callable[[], object], int]] = {}

    def at(self, point: str, do: Callable[[], object], times: int = 1) -> None:
        """Do this at the first `times` that the point is reached."""
        self._asked[point] = do, times

    def __call__(self, stage: str, *step: str) -> None:
        if step[0] == "unit":
            self.made.append(step[1])
        do, times = self._asked.pop(":".join(step), (list, 0))
        if times > 1:
            self._asked[":".join(step)] = do, times - 1
        do()


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Points:
    found = Points()
    monkeypatch.setattr(draft, "reached", found)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return write(open_store(tmp_path_factory.mktemp("undisturbed")))


def assert_whole(made: Artifact, undisturbed: Artifact) -> None:
    """The artifact is the one of a run that nobody disturbed, and nothing asks for it again."""
    assert made.digest == undisturbed.digest and why_redo(made) is None and not [*damages(made)]
    assert made.manifest.metrics == {"letters": ["a", "b", "c", "d"]} and made.manifest.seeds == {"letters": 3}
    assert made.fetch("word.txt").read_text() == "a made b made c made d made"


def test_a_finished_stage_is_not_done_again(store: Store, points: Points) -> None:
    first, second = (
        run_stage(LETTERS, Text(), {}, store, Performance(sample_batch_size=size), silent) for size in (1, 2)
    )
    assert points.made == ["a", "b", "c", "d", "word"] and first.digest == second.digest
    assert first.manifest == second.manifest


def test_a_cached_stage_imports_nothing(store: Store) -> None:
    made, absent = write(store), replace(LETTERS, work="no_such_module:Work")
    assert write(store, stage=absent).digest == made.digest
    with pytest.raises(ModuleNotFoundError):
        run_stage(absent, Text(text="other"), {}, store, PERF, silent)


def test_another_library_version_is_recorded_and_redoes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: Points
) -> None:
    store, made = open_store(tmp_path / "store"), []
    for version in ("1.0", "2.0"):
        monkeypatch.setattr("infra.environment._environment", lambda version=version: (("torch", version),))
        made += [write(store), write(open_store(tmp_path / version))]
    assert [one.manifest.environment["torch"] for one in made] == ["1.0", "1.0", "1.0", "2.0"]
    assert points.made.count("a") == 3
    assert len({one.fingerprint for one in made}) == len({one.digest for one in made}) == 1


def test_version_config_and_inputs_make_the_identity(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    a, b = Folder.open(tmp_path / "a"), Folder.open(tmp_path / "b")
    base = stage_fingerprint(WORLD, World(), {"x": a})
    assert base == stage_fingerprint(WORLD, World(seed=1), {"x": a})
    others = [
        (replace(WORLD, version=WORLD.version + 1), World(), {"x": a}),
        (replace(WORLD, name="other"), World(), {"x": a}),
        (WORLD, World(seed=2), {"x": a}),
        (WORLD, World(), {"x": b}),
        (WORLD, World(), {"y": a}),
    ]
    assert base not in {stage_fingerprint(*other) for other in others}


def test_how_a_stage_is_done_is_no_part_of_the_identity() -> None:
    other = replace(WORLD, work="elsewhere:Work", does="It otherwise", extent=extent, tree=None)
    assert stage_fingerprint(other, World(), {}) == stage_fingerprint(WORLD, World(), {})


def test_a_file_named_by_path_counts_by_its_content(tmp_path: Path) -> None:
    for name, text in {"one": "same", "two": "same", "three": "other"}.items():
        (tmp_path / name).write_text(text)
    one, two, three = (
        stage_fingerprint(STAGES["prompts"], Prompts(source="text", path=str(tmp_path / name)), {})
        for name in ("one", "two", "three")
    )
    assert one == two != three


def test_a_file_named_by_path_that_changes_makes_another_identity(tmp_path: Path) -> None:
    """In a process that has seen it before, and where the size is what it was: a worker lives for weeks."""
    told = Prompts(source="text", path=str(tmp_path / "one"))
    (tmp_path / "one").write_text("same")
    aged(tmp_path / "one", 60)
    before = {stage_fingerprint(STAGES["prompts"], told, {}) for _ in range(2)}
    (tmp_path / "one").write_text("else")
    assert len(before) == 1 and stage_fingerprint(STAGES["prompts"], told, {}) not in before


class Told(Section):
    """Whose letters to write."""

    weights: str = Field(json_schema_extra=ASIDE)


class Meddled(StageWork[Told]):
    """Somebody replaces the weights while the stage is at work."""

    def make(self, group: Group) -> None:
        """One file."""
        path = self.out.workdir / "a.txt"
        path.write_text("made")
        self.out.commit_unit("a", {path.name: path})
        Path(self.config.weights).write_text("new")

    def finish(self, units: Units) -> StageResult:
        """Nothing more."""
        return StageResult()


def test_a_manifest_names_what_its_fingerprint_is_of(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("old")
    old = Folder.open(tmp_path / "weights").digest
    stage = replace(ONE, section=Told, work=f"{__name__}:Meddled", extent=lambda config, roles: LONE)
    told = Told(weights=str(tmp_path / "weights"))
    made = run_stage(stage, told, {}, open_store(tmp_path / "store"), PERF, silent)
    assert {one.role: one.digest for one in made.manifest.inputs} == {"weights": old}
    assert made.fingerprint == fingerprint(stage.name, stage.version, told.identity(), {"weights": old})


class Reader(StageWork[Told]):
    """Copies the weights."""

    def make(self, group: Group) -> None:
        """One file."""
        self.out.commit_unit("a", {"a.txt": Path(self.config.weights)})

    def finish(self, units: Units) -> StageResult:
        """Nothing more."""
        return StageResult()


def test_weights_may_be_named_by_the_address_of_what_was_added(store: Store, tmp_path: Path) -> None:
    """As by their path: nothing is made again, wherever it is read."""
    (tmp_path / "judges").mkdir()
    (tmp_path / "judges" / "inception.pth").write_text("weights")
    address = f"{add(store, tmp_path / 'judges', 'weights')[0].uri}/inception.pth"
    here, there = Told(weights=str(tmp_path / "judges" / "inception.pth")), Told(weights=address)
    stage = replace(ONE, section=Told, work=f"{__name__}:Reader", extent=lambda config, roles: LONE)
    made = run_stage(stage, there, {}, store, PERF, silent)
    assert made.fetch("a.txt").read_text() == "weights" and made.manifest.config["weights"] == address
    assert [one.uri for one in made.manifest.inputs] == [address]
    cached = find_cached(stage, here, {}, store)
    assert cached is not None and cached.fingerprint == made.fingerprint
    named_paths(there)["weights"].require()
    with pytest.raises(UserError, match="holds no file weights/absent.pth"):
        named_paths(Told(weights=address.replace("inception", "absent")))["weights"].require()


def test_missing_weights_are_named_by_field() -> None:
    with pytest.raises(UserError, match=r"^evaluate\.inception_weights: /nowhere/inception\.pth: no such file"):
        named_files(STAGES["evaluate"], Evaluate(features="inception", inception_weights="/nowhere/inception.pth"))


class Large(StageWork[World]):
    """A small unit, then one that no disk has room for."""

    def make(self, group: Group) -> None:
        """Commit the one, die of the other."""
        (self.out.workdir / "small").write_bytes(b"s")
        self.out.commit_unit("small", {"small.txt": self.out.workdir / "small"})
        with files_end_at(1000):
            (self.out.workdir / "large").write_bytes(bytes(2000))

    def finish(self, units: Units) -> StageResult:
        """The kernel refuses before."""
        raise AssertionError


def test_a_full_disk_of_the_work_in_progress_is_named(store: Store) -> None:
    stage = replace(WORLD, work=f"{__name__}:Large")
    with pytest.raises(UserError, match=r"stage world: no room .* in /\S+: File too large\. .*TMPDIR"):
        run_stage(stage, World(), {}, store, PERF, silent)
    assert [path for path in store.list("world") if path.endswith("units/small.json")]


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_a_killed_run_goes_on_and_its_progress_starts_with_what_was_there(
    calls: int, store: Store, points: Points, undisturbed: Artifact
) -> None:
    with pytest.raises(Killed):
        write(store, killed_after(calls))
    kept, told = [*points.made], list[tuple[int, int, str]]()
    assert kept == ["a", "b", "c", "d"][:calls]
    made = write(store, lambda *at: told.append(at))
    assert_whole(made, undisturbed)
    assert points.made == ["a", "b", "c", "d", "word"], "no unit is made twice"
    counts = [2, 4, 5, 6]
    assert told == [(count, 6, "letters") for count in (counts[calls - 1 :] if calls < 4 else [])]


def test_the_progress_of_a_run_from_the_beginning_starts_with_nothing(store: Store) -> None:
    told: list[tuple[int, int, str]] = []
    write(store, lambda *at: told.append(at))
    assert told == [(count, 6, "letters") for count in (0, 2, 4, 5, 6)]


def test_a_run_asked_to_stop_keeps_the_unit_under_way(store: Store, points: Points, undisturbed: Artifact) -> None:
    def ask(done: int, total: int, unit: str) -> None:
        if done == 2:
            stopping._asked.set()

    with pytest.raises(stopping.Stopped):
        try:
            write(store, ask)
        finally:
            stopping._asked.clear()
    assert points.made == ["a"]
    assert_whole(write(store), undisturbed)


def another_worker(store: Store, *groups: Group) -> None:
    """Somebody else makes these groups of the same artifact."""
    with Draft(store, LETTERS.name, stage_fingerprint(LETTERS, Text(), {})) as out:
        work = Letters(Work(LETTERS, Text(), {}, out, PERF, silent))
        for group in groups:
            work.make(group)


def test_a_group_that_another_worker_made_meanwhile_is_not_made_again(
    store: Store, points: Points, undisturbed: Artifact
) -> None:
    points.at("unit-done:a", lambda: another_worker(store, (Unit("b", 2),)))
    assert_whole(write(store), undisturbed)
    assert sorted(points.made) == ["a", "b", "c", "d", "word"]


def test_of_a_group_that_another_worker_began_only_the_rest_is_made(
    store: Store, points: Points, undisturbed: Artifact
) -> None:
    points.at("unit-done:b", lambda: another_worker(store, (Unit("d"),)))
    assert_whole(write(store), undisturbed)
    assert points.made == ["a", "b", "d", "c", "word"]


def test_who_is_overtaken_makes_nothing_more_and_agrees(store: Store, points: Points, undisturbed: Artifact) -> None:
    first: list[Artifact] = []
    points.at("unit-done:a", lambda: first.append(write(store)))
    second = write(store)
    assert_whole(second, undisturbed)
    assert second.manifest == first[0].manifest, "the result of who was first is kept"
    assert points.made == ["a", "b", "c", "d", "word", "word"]


UNITS = ("a", "b", "c", "d")


@pytest.mark.parametrize("after", UNITS)
@pytest.mark.parametrize("lost", UNITS)
def test_a_unit_that_vanishes_while_others_are_made_is_made_again(
    lost: str, after: str, store: Store, points: Points, undisturbed: Artifact
) -> None:
    points.at(f"unit-done:{after}", lambda: store.delete(f"{BASE}/units/{lost}.json"))
    assert_whole(write(store), undisturbed)
    assert points.made == [*UNITS, *([lost] if lost <= after else []), "word"]


@pytest.mark.parametrize("after", [*UNITS, "word"])
def test_a_run_beside_which_all_is_forced_ends_with_its_own(
    after: str, store: Store, points: Points, undisturbed: Artifact
) -> None:
    points.at(f"unit-done:{after}", lambda: redo_all(store, BASE))
    made = write(store)
    assert points.made == [*UNITS, "word"] and made.digest == undisturbed.digest
    assert why_redo(made) == FORCED, "who asked for it has yet to do it"
    again = write(store)
    assert points.made == [*UNITS, "word"] * 2
    assert_whole(again, undisturbed)
    assert again.manifest.generation > made.manifest.generation == ""


def test_a_run_that_slept_while_another_was_forced_and_finished_ends_with_that(
    store: Store, points: Points, undisturbed: Artifact
) -> None:
    forced: list[Artifact] = []

    def beside() -> None:
        redo_all(store, BASE)
        forced.append(write(store))

    points.at("unit-done:a", beside)
    first = write(store)
    assert first.manifest == forced[0].manifest, "a later generation is not replaced"
    assert_whole(forced[0], undisturbed)
    assert points.made == ["a", *UNITS, "word", *UNITS[1:], "word"]


@pytest.mark.parametrize("lost", [*UNITS, "word"])
def test_a_unit_that_vanishes_between_the_last_one_and_the_manifest_is_made_again(
    lost: str, store: Store, points: Points, undisturbed: Artifact
) -> None:
    points.at("unit-done:word", lambda: store.delete(f"{BASE}/units/{lost}.json"))
    assert_whole(write(store), undisturbed)
    assert points.made == [*UNITS, "word", *([lost] if lost != "word" else []), "word"]


def test_the_only_unit_of_a_stage_may_vanish_too(store: Store, points: Points) -> None:
    points.at("unit-done:a", lambda: store.delete(f"{BASE}/units/a.json"))
    made = write(store, stage=ONE)
    assert points.made == ["a", "a", "word"] and made.manifest.metrics == {"letters": ["a"]}


def test_progress_starts_again_with_what_is_left(store: Store, points: Points) -> None:
    told: list[int] = []
    points.at("unit-done:d", lambda: store.delete(f"{BASE}/units/b.json"))
    write(store, lambda done, *_: told.append(done))
    assert told == [0, 2, 4, 5, 6, 4, 6]


def test_who_deletes_without_end_is_asked_about(store: Store, points: Points) -> None:
    points.at("unit-done:c", lambda: store.delete(f"{BASE}/units/a.json"), times=1000)
    points.at("unit-done:a", lambda: store.delete(f"{BASE}/units/c.json"), times=1000)
    with pytest.raises(UserError) as raised:
        write(store)
    assert str(raised.value) == (
        f"stage letters: units of {store.url}/{BASE} were made 10 times and are gone again. Does something delete from"
        " the store? Stop it, then run the same command again."
    )
    assert not store.exists(f"{BASE}/{MANIFEST}")


def test_units_that_nobody_expects_are_no_part_of_the_artifact(store: Store, undisturbed: Artifact) -> None:
    with Draft(store, LETTERS.name, stage_fingerprint(LETTERS, Text(), {})) as out:
        (out.workdir / "z.txt").write_text("stray")
        out.commit_unit("z", {"z.txt": out.workdir / "z.txt"}, rows=1)
    made = write(store)
    assert_whole(made, undisturbed)
    assert {file.name for file in made.manifest.files} == {"a.txt", "b.txt", "c.txt", "d.txt", "word.txt"}
    assert made.manifest.rows == 5


def test_without_its_manifest_an_artifact_is_only_put_together_again(
    store: Store, points: Points, undisturbed: Artifact
) -> None:
    write(store)
    store.delete(f"{BASE}/{MANIFEST}")
    assert_whole(write(store), undisturbed)
    assert points.made == [*UNITS, "word", "word"]


def test_what_is_to_be_redone_is_not_cached(store: Store, points: Points, undisturbed: Artifact) -> None:
    assert find_cached(LETTERS, Text(), {}, store) is None
    made = write(store)
    found = find_cached(LETTERS, Text(), {}, store)
    assert found is not None and found.manifest == made.manifest
    redo_units(store, BASE, ["b"], "damaged")
    assert find_cached(LETTERS, Text(), {}, store) is None
    assert_whole(write(store), undisturbed)
    assert points.made == [*UNITS, "word", "b", "word"]
    redo_all(store, BASE)
    assert why_redo(made) == FORCED and find_cached(LETTERS, Text(), {}, store) is None
    assert_whole(write(store), undisturbed)
    assert points.made[-5:] == [*UNITS, "word"]


def shared(store: Store, number: int) -> list[tuple[int, int]]:
    """What one of two workers tells of its progress."""
    told: list[tuple[int, int]] = []
    make_share(Job(LETTERS, Text(), {}, store), Share(number=number, of=2), lambda *how: told.append(how[:2]))
    return told


def test_a_share_counts_what_it_makes_its_own_first(store: Store) -> None:
    assert shared(store, 0) == [(0, 4), (2, 4), (3, 4), (4, 4), (4, 6), (6, 6)], "a, c and d; then it helps with b"


def test_a_share_counts_nothing_that_another_made(store: Store, points: Points) -> None:
    points.at("unit:a", lambda: shared(store, 1))
    assert shared(store, 0) == [(0, 4), (2, 4), (2, 2)], "a; c and d are there, and so is b"
