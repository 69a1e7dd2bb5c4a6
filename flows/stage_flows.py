"""Every stage as a Prefect flow under its own name, where workers find it: `flows.stage_flows.pairs`.

`inputs` maps roles to artifact URIs, to `stage/fingerprint` references in `store`, to absolute paths of plain
folders, or to "mini", which is what is embedded. Each flow returns the URI of its artifact.
`rehearsal` tries a chain before it is begun.
"""

from flows.run.rehearsal_flow import rehearsal as rehearsal
from flows.run.stage_flow import STAGE_FLOWS

globals().update(STAGE_FLOWS)
