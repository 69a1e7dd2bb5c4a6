"""The schema's machinery, whatever is told by it: sections, files that extend each other, overrides, messages."""

from infra.recipe.extends import Layers, Named, read_layers
from infra.recipe.reading import apply_overrides, validated
from infra.recipe.section import ASIDE, FILES, Count, Counts, Fraction, Rate, Section, Seed, as_before

__all__ = [
    "ASIDE", "FILES", "Count", "Counts", "Fraction", "Layers", "Named", "Rate", "Section", "Seed",
    "apply_overrides", "as_before", "read_layers", "validated",
]  # fmt: skip
