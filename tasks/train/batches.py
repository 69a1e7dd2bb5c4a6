"""The pairs of each training step."""

from torch import Tensor

from tasks.order import places
from tasks.train.pair_sets import PairSets
from tasks.train.shuffle import shuffle


class Batches:
    """The batches of one training: a function of the step, so that a resumed one goes on with the same pairs.

    They are shuffled over ``window`` shards at a time, over all when it is None. From the first step that is asked for,
    the shards of a remote store are downloaded ahead in the order of need.
    """

    def __init__(self, pairs: PairSets, seed: int, batch_size: int, window: int | None = None) -> None:
        self._pairs, self._batch_size = pairs, batch_size
        self._shuffle = shuffle(seed, pairs.shard_sizes, window)
        self._ahead_until = 0

    def __call__(self, step: int, rows: slice = slice(None)) -> tuple[Tensor, Tensor, list[str]]:
        """Noise and latent [B, C, H, W] and the prompts of some rows of a step's batch.

        Raises UserError for a damaged shard, StoreError.
        """
        start, stop = places(step, self._batch_size)
        if start >= self._ahead_until:
            wanted, self._ahead_until = self._shuffle.ahead(start)
            self._pairs.prefetch(wanted)
        return self._pairs.batch(self._shuffle.ids(start, stop)[rows])
