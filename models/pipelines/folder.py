"""What a diffusers folder says of itself, read from its JSON files and the headers of its weights: no torch.

Which family it is of, whether its parts are there and fit, and what its network predicts. What would be solved
otherwise than the folder says, or is not known, is refused by the field's name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from models.pipelines.layouts import LAYOUTS, Layout
from models.pipelines.scheduler_config import check_scheduler, unexpected
from models.pipelines.weight_files import count_numbers, variants

Parameterization = Literal["diffusion", "raw", "converted"]
"""What the network's output means: a diffusion teacher's epsilon / v, a velocity, or an epsilon read as a velocity."""

SOLVERS = {
    "diffusion": ("dpmsolver++", "dpmsolver++1", "dpmsolver++3", "unipc", "ddim", "euler", "heun"),
    "raw": ("euler", "heun", "unipc"),
    "converted": ("euler", "heun", "unipc"),
}
"""The solvers of models/solvers.py by what they solve."""

MARKER = "flow.json"

_VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model")


class Described(NamedTuple):
    """What a folder holds: its family, what its network predicts, and the variant its weights are all there is of.

    ``absent`` are the components that the family can do without and that model_index.json says are not there; ``sizes``
    says of each network how many numbers its weights are.
    """

    pipeline_class: str
    parameterization: Parameterization
    variant: str | None
    absent: tuple[str, ...]
    sizes: Mapping[str, int]


def pipeline_class(folder: Path) -> str:
    """The family a folder is of: its name in `LAYOUTS`. Raises FileNotFoundError, ValueError for another one."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise FileNotFoundError(
            f"{folder}: no model_index.json; expected a folder that diffusers' save_pretrained wrote"
        )
    name = read_config(index).get("_class_name")
    if name not in LAYOUTS:
        raise ValueError(f"{index}: _class_name is {name!r}; expected one of {', '.join(LAYOUTS)}")
    return str(name)


def check_folder(folder: Path) -> Described:
    """What a folder holds, or why it cannot be used.

    Raises FileNotFoundError naming a file that is missing, ValueError naming file, field, value and what to do.
    """
    name, index = pipeline_class(folder), folder / "model_index.json"
    absent = _absent(index, read_config(index), LAYOUTS[name])
    layout = LAYOUTS[name].without(absent)
    _check_parts(folder, layout)
    for part in layout.others:
        if part.startswith("tokenizer"):
            _check_tokenizer(folder / part)
    variant = _variant(folder, layout)
    sizes = {part: count_numbers(folder / part, variant) for part in layout.networks}
    _check_numbers(folder, layout)
    return Described(name, _parameterization(folder), variant, absent, sizes)


def check_solver(parameterization: Parameterization, solver: str) -> None:
    """Raise ValueError when a model of this kind has no such solver."""
    known = SOLVERS[parameterization]
    if solver not in known:
        raise ValueError(f"solver {solver!r}: a {parameterization} model is solved with one of {', '.join(known)}")


def read_config(path: Path) -> dict[str, Any]:
    """A JSON file of a folder. Raises FileNotFoundError, ValueError for what is no JSON object."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected one as save_pretrained writes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); copy or download the file again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}; expected a JSON object of fields")
    return content


def _absent(index: Path, told: Mapping[str, Any], layout: Layout) -> tuple[str, ...]:
    """The components that the index says are null."""
    absent = tuple(name for name in layout.together if told.get(name) in (None, [None, None]))
    if absent and absent != layout.together:
        there = [name for name in layout.together if name not in absent]
        raise ValueError(
            f"{index}: {', '.join(absent)} is null beside {', '.join(there)}; expected both, or [null, null] for both"
        )
    return absent


def _check_parts(folder: Path, layout: Layout) -> None:
    components = (*layout.networks, *layout.others)
    missing = [name for name in components if not (folder / name).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {', '.join(missing)} missing; expected model_index.json and the folders"
            f" {', '.join(components)} as written by save_pretrained"
        )


def _check_tokenizer(part: Path) -> None:
    """Its files are JSON, and a vocabulary is among them: without one, transformers makes an empty one of its own."""
    for path in sorted(part.glob("*.json")):
        read_config(path)
    if not any((part / name).is_file() for name in _VOCABULARIES):
        raise FileNotFoundError(f"{part}: no vocabulary; expected one of {', '.join(_VOCABULARIES)}")


def _variant(folder: Path, layout: Layout) -> str | None:
    """The variant to load: none where every network has plain weights. Raises where a network has none to load."""
    found = {name: variants(folder / name) for name in layout.networks}
    only = {min(one) for one in found.values() if "" not in one}
    if len(only) > 1:
        raise ValueError(
            f"{folder}: its weights are of different variants ({', '.join(sorted(only))}); expected one, or none"
        )
    return next(iter(only), None)


def _check_numbers(folder: Path, layout: Layout) -> None:
    configs = {name: read_config(_config(folder, name)) for name in (*layout.networks, "scheduler")}

    def value(name: str) -> Any:
        part, _, key = name.partition(".")
        return configs[part].get(key)

    for whole, parts, what in layout.equal:
        if value(whole) != sum(_number(folder, part, value(part)) for part in parts):
            told = " + ".join(f"{value(part)} ({_at(part)})" for part in parts)
            raise ValueError(f"{folder}: {what}: {value(whole)} ({_at(whole)}) against {told}; they must be equal")
    for name, allowed in layout.only.items():
        if value(name) not in allowed:
            expected = " or ".join(json.dumps(one) for one in allowed)
            raise ValueError(_told(folder, name, value(name), f"{expected}; the family knows nothing else"))
    _check_side(folder, layout.side, value(layout.side))


def _check_side(folder: Path, name: str, side: Any) -> None:
    """A number, or two equal ones."""
    sides = side if isinstance(side, list) else [side]
    if not all(type(one) is int and one > 0 for one in sides) or len(set(sides)) != 1:
        expected = "the side of a square latent, e.g. 64 for pictures of 512 pixels; write it into the file"
        raise ValueError(_told(folder, name, side, expected))


def _config(folder: Path, component: str) -> Path:
    return folder / component / ("scheduler_config.json" if component == "scheduler" else "config.json")


def _number(folder: Path, name: str, value: Any) -> int:
    if type(value) is not int:
        raise ValueError(_told(folder, name, value, "a whole number"))
    return value


def _at(name: str) -> str:
    part, _, key = name.partition(".")
    return f"{part}/config.json: {key}"


def _told(folder: Path, name: str, value: Any, expected: str) -> str:
    part, _, key = name.partition(".")
    return unexpected(_config(folder, part), key, value, expected)


def _parameterization(folder: Path) -> Parameterization:
    """The one place that decides: a marker file of ours, else the scheduler's config."""
    path = _config(folder, "scheduler")
    predicts = check_scheduler(path, read_config(path))
    marker = folder / MARKER
    if not marker.is_file():
        return predicts
    told = read_config(marker)
    if told != {"parameterization": "converted"} or predicts != "diffusion":
        expected = '{"parameterization": "converted"} beside a diffusion scheduler'
        raise ValueError(f"{marker}: {json.dumps(told)} beside a {predicts} scheduler; expected {expected}")
    return "converted"
