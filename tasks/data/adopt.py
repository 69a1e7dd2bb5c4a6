"""Stage `adopt`: a published rectified flow of the paper's convention, as one of ours."""

import time

from infra.errors import UserError
from tasks.data.load import load_model
from tasks.sections import Adopt
from tasks.stage import StageResult, StageWork, Units
from tasks.stages import Group


class AdoptFlow(StageWork[Adopt]):
    """Commits the tree ``model``: the same network with its output the other way round, marked as a flow.

    The published folders say nothing of it: their scheduler is Stable Diffusion's.
    """

    def make(self, group: Group) -> None:
        """Turn the sign and save. Raises UserError for a model that cannot be of the paper's convention."""
        started = time.monotonic()
        model = load_model(self.inputs["teacher"])
        try:
            model.from_paper()
        except ValueError as error:
            raise UserError(f"teacher.convention: paper: {error}") from error
        folder = self.out.workdir / "model"
        model.save(folder)
        self.out.commit_unit("model", {"model": folder}, rows=1, seconds=time.monotonic() - started)
        self.work.advance(1)

    def finish(self, units: Units) -> StageResult:
        """Nothing: the model is all there is."""
        return StageResult()
