"""What stages ask of their inputs."""

from infra.artifact import Artifact, Source
from infra.errors import UserError


def as_artifact(source: Source) -> Artifact:
    """The input as a stage's artifact. Raises UserError for a plain folder, which has no index to trust."""
    if not isinstance(source, Artifact):
        raise UserError(f"{source.uri}: a plain folder; expected the artifact of a stage (stage/fingerprint)")
    return source
