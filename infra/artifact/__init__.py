"""The commit protocol: what an artifact is, how it is made and how it is read."""

from infra.artifact.artifact import MANIFEST, Artifact, ArtifactMissing, base_of
from infra.artifact.draft import Draft, UnitsMissing
from infra.artifact.files import Files
from infra.artifact.source import Folder, Pinned, Source

__all__ = [
    "MANIFEST", "Artifact", "ArtifactMissing", "Draft", "Files", "Folder", "Pinned", "Source", "UnitsMissing",
    "base_of",
]  # fmt: skip
