"""The grammar: captions in several phrasings, often under-specified, and back to what they mention."""

import re

import numpy as np

from models.mini.scene import ATTRIBUTES, Scene

PLACES = {
    "centre": "in the centre",
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
}
PHRASINGS = (
    "{a} {thing}{place}{on}",
    "a picture of {a} {thing}{place}{on}",
    "{a} {thing}{on}{place}",
    "there is {a} {thing}{place}{on}",
    "{background}{a} {thing}{place}",
)
MENTIONED = {"shape": 0.95, "colour": 0.9, "size": 0.65, "background": 0.65, "position": 0.65}


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One caption of the scene: a phrasing, and a random subset of its attributes."""
    said = {name: value if rng.random() < MENTIONED[name] else "" for name, value in scene.attributes.items()}
    thing = " ".join(filter(None, (said["size"], said["colour"], said["shape"] or "shape")))
    background = f"{said['background']} background" if said["background"] else ""
    words = {
        "a": "an" if thing[0] in "aeiou" else "a",
        "thing": thing,
        "place": f" {PLACES[said['position']]}" if said["position"] else "",
        "on": f" on a {background}" if background else "",
        "background": f"{background}, " if background else "",
    }
    return PHRASINGS[rng.integers(len(PHRASINGS))].format(**words)


def mentioned(text: str) -> dict[str, str]:
    """The attributes a caption states, e.g. ``"a red ring"`` -> ``{"shape": "ring", "colour": "red"}``."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    return {name: value for name, values in ATTRIBUTES.items() for value in values if value in words}
