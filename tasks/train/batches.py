"""The pairs of each training step."""

from torch import Tensor

from tasks.order import batch_ids, sample_ids
from tasks.train.pair_sets import PairSets


class Batches:
    """The batches of one training: a function of the step, so that a resumed one goes on with the same pairs.

    From the first step that is asked for, the shards of a remote store are downloaded ahead in the order of need.
    """

    def __init__(self, pairs: PairSets, seed: int, batch_size: int) -> None:
        self._pairs, self._seed, self._batch_size = pairs, seed, batch_size
        self._begun = False

    def __call__(self, step: int, rows: slice = slice(None)) -> tuple[Tensor, Tensor, list[str]]:
        """Noise and latent [B, C, H, W] and the prompts of some rows of a step's batch.

        Raises UserError for a damaged shard, StoreError.
        """
        count = len(self._pairs)
        if not self._begun:
            self._begun, place = True, step * self._batch_size
            self._pairs.prefetch(sample_ids(self._seed, place, place + count, count))  # one epoch has every shard
        return self._pairs.batch(batch_ids(self._seed, step, self._batch_size, count)[rows])
