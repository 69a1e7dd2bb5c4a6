"""`instaflow doctor`: whether everything a run needs is there, one line each, with what to do where it is not."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from flows.algorithms.chain import Chain, Given, Node
from flows.run import sources
from flows.run.preflight import preflight
from infra.address import public, secret_in
from infra.artifact.cache_folder import cache_folder
from infra.artifact.fingerprint import sha256_file
from infra.artifact.manifest import Manifest
from infra.errors import UserError
from infra.store import open_store
from infra.words import size
from tasks.stage import named_files

PACKAGE = "instaflow"
_ROOM_BYTES = 2_000_000_000  # a shard, a checkpoint and the cache of one stage of the miniature world, many times
_WITHIN_S = 5.0
_DRIVER = Path("/proc/driver/nvidia/version")


class Sick(Exception):
    """A check that failed: its text says what is wrong and what to do."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    name: str
    is_well: bool
    text: str


def examine(store_url: str, chain: Chain | None = None) -> Iterator[Finding]:
    """Every check, in order: the store, the disks, the packages, the devices, Prefect, what the recipe names."""
    checks: dict[str, Callable[[], str]] = {
        "store": lambda: store_is_sound(store_url),
        "disk": lambda: has_room(store_url),
        "packages": are_current,
        "torch": torch_loads,
        "driver": driver,
        **devices(),
        "prefect": prefect_answers,
        "weights": embedded_are_whole,
    }
    for name, check in checks.items():
        yield _found(name, check)
    for name, check in _named_by(chain).items() if chain else ():
        if (finding := _found(name, check)).text:
            yield finding


def _found(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except (Sick, UserError) as error:
        return Finding(name, False, " ".join(str(error).split()))


def store_is_sound(url: str) -> str:
    """Whether the store is reached, takes files, gives them back and creates a name only once."""
    store = open_store(url)
    store.folders()
    path = f"doctor/{uuid.uuid4().hex}"
    try:
        store.write(path, b"written")
        if store.read(path) != b"written":
            raise Sick(f"{store.url}: gives back other bytes than were written. Use another store.")
        once = not store.create(path, b"created again")
    finally:
        store.delete(path)
    how = "creates a name once" if once else "replaces a name that is there, which is harmless: equal work agrees"
    return f"{store.url}: reachable and writable; {how}"


def has_room(store_url: str) -> str:
    """Whether the disks of a local store, of temporary files and of the cache have room."""
    local = open_store(store_url).local_path("")
    places = {"TMPDIR": Path(tempfile.gettempdir()), "INSTAFLOW_CACHE": cache_folder()}
    free = {name: _free(path) for name, path in {**({"--store": local} if local else {}), **places}.items()}
    if short := {name: count for name, count in free.items() if count < _ROOM_BYTES}:
        what = ", ".join(f"{name} {size(count)}" for name, count in short.items())
        raise Sick(f"free: {what}; expected {size(_ROOM_BYTES)} or more. Make room, or set {' or '.join(short)}.")
    return "free: " + ", ".join(f"{name} {size(count)}" for name, count in free.items())


def _free(path: Path) -> int:
    there = next(one for one in (path, *path.parents) if one.exists())
    return shutil.disk_usage(there).free


def are_current() -> str:
    """Whether the installed packages are those the project asks for."""
    try:
        wanted = [Requirement(text) for text in importlib.metadata.requires(PACKAGE) or ()]
    except importlib.metadata.PackageNotFoundError as error:
        raise Sick(f"{PACKAGE} is not installed here. Run: make install") from error
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [f"{one.name} {_version(one.name)} instead of {one.specifier}" for one in needed if not _fits(one)]
    if wrong:
        raise Sick(f"{'; '.join(wrong)}. Run: make install")
    return f"{len(needed)} as required"


def _fits(wanted: Requirement) -> bool:
    found = _version(wanted.name)
    return found is not None and wanted.specifier.contains(found, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def torch_loads() -> str:
    """Whether torch loads, for which CUDA it was built, and with which NCCL."""
    torch = _torch()
    if torch.version.cuda is None:
        return f"{torch.__version__}, built for CPUs alone"
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else "none"
    return f"{torch.__version__} for CUDA {torch.version.cuda}, NCCL {nccl}"


def _torch() -> Any:
    try:
        import torch
    except (ImportError, OSError) as error:
        raise Sick(f"cannot be imported: {error}. Run: make install") from error
    return torch


def driver() -> str:
    """Which NVIDIA driver there is, and whether torch gets on with it."""
    torch, shown = _torch(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if not _DRIVER.exists():
        return "none: no NVIDIA driver is loaded here"
    found = re.search(r"Kernel Module.*?(\d+(?:\.\d+)+)", _DRIVER.read_text())
    version = found[1] if found else "of an unknown version"
    if shown is None and not torch.cuda.is_available():
        raise Sick(f"{version}: of no use to torch. Install one for CUDA {torch.version.cuda}, or give it a device.")
    return f"{version}; CUDA_VISIBLE_DEVICES is {'not set' if shown is None else repr(shown)}"


def devices() -> dict[str, Callable[[], str]]:
    """A check of each device that this process sees, as a stage would find it."""
    try:
        torch = _torch()
    except Sick:  # said before
        return {}
    if not torch.cuda.is_available():
        cpu = f"{torch.get_num_threads()} CPU threads and no GPU: enough for the miniature world"
        return {"devices": lambda: cpu}
    return {f"cuda:{number}": partial(_card, number) for number in range(torch.cuda.device_count())}


def _card(number: int) -> str:
    torch = _torch()
    try:
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise Sick(f"cannot be used: {reason}. Leave it out of CUDA_VISIBLE_DEVICES, or reset it.") from error
    return f"{torch.cuda.get_device_name(number)}, {size(free)} of {size(total)} free"


def prefect_answers() -> str:
    """Whether the Prefect server that is configured answers and is of our version."""
    from prefect.settings import get_current_settings

    version, url = _version("prefect"), get_current_settings().api.url
    if url is None:
        return f"{version}; PREFECT_API_URL is not set: each run starts a server of its own"
    shown = public(url)
    if found := secret_in(url):
        raise Sick(f"PREFECT_API_URL {shown}: carries {found}. A password goes into PREFECT_API_AUTH_STRING.")
    try:
        with urllib.request.urlopen(f"{url}/admin/version", timeout=_WITHIN_S) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise Sick(f"{shown}: answers with HTTP {error.code}. See the server's log.") from error
        return f"{version}; {shown} answers and asks for its password"
    except (OSError, ValueError, HTTPException) as error:
        raise Sick(f"{shown}: no server answers: {error}. Start it, or unset PREFECT_API_URL.") from error
    if found != version:
        raise Sick(f"{shown}: the server is version {found}, here is {version}. Install the same on both sides.")
    return f"{version}; {shown} answers"


def embedded_are_whole() -> str:
    """Whether the weights that come with the project are there and have the recorded hashes."""
    folders = [sources.folder_of(tree, name) for tree, name in sources.EMBEDDED]
    for folder in folders:
        _require_recorded(folder)
    return f"embedded: {', '.join(folder.name for folder in folders)}, hashes as recorded"


def _require_recorded(folder: Path) -> None:
    record = folder.parent / f"{folder.name}.manifest.json"
    if not record.is_file():
        raise Sick(f"{record} is missing. Fetch the project's files again, or train them: make mini")
    manifest = Manifest.from_bytes(record.read_bytes(), str(record))
    trees = {file.name.partition("/")[0] for file in manifest.files if "/" in file.name} & {"model", "clip"}
    for file in manifest.files:
        tree, _, inside = file.name.partition("/")
        if tree in trees and (not (folder / inside).is_file() or sha256_file(folder / inside) != file.sha256):
            raise Sick(f"{folder / inside} is missing or damaged. Fetch the project's files again, or: make mini")


def _named_by(chain: Chain) -> dict[str, Callable[[], str]]:
    """A check of each thing that a recipe names by path."""
    checks: dict[str, Callable[[], str]] = {}
    for one in chain.given():
        if (one.tree, one.path) not in sources.EMBEDDED:
            checks[f"{one.tree} {one.path}"] = partial(_is_tree, one)
    checks["preflight"] = partial(_looked_at, chain)
    return checks | {node.id: partial(_files_of, node) for node in chain.nodes.values()}


def _looked_at(chain: Chain) -> str:
    preflight(chain)
    return f"{chain.recipe.name}: fields, names, counts and headers as they should be"


def _is_tree(given: Given) -> str:
    found = sources.given(given.tree, given.path)
    return f"{found.uri}: there, digest {found.digest[:12]}"


def _files_of(node: Node) -> str:
    found = named_files(node.stage, node.config)
    return ", ".join(f"{name} {file.uri}: digest {file.digest[:12]}" for name, file in found.items())
