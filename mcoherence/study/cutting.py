"""How measuring or evaluating a run is cut into jobs: blocks of checkpoints, and shards of the examples.

Whether a run is done in parts follows from its work alone, which nothing operational changes. Snakemake runs a job
again whose set of input files changed; results made at once would be made again when they could be asked for in parts.
This way the sizes of blocks and shards change nothing but jobs that are still to run.

The sizes are those of `operational.checkpoints_per_job` and `operational.examples_per_shard`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from mcoherence.study.data_sizes import size_of
from mcoherence.study.results import result, steps_of_result
from mcoherence.study.runs import Config, Run
from mcoherence.study.shards import EVALUATED_BATCH

OPERATIONAL = True  # no number depends on it; docs/reruns.md

# Work from which a run is done in parts, in examples times checkpoints: below, to start jobs costs more than they gain.
MEASURED_IN_PARTS = 200_000
EVALUATED_IN_PARTS = 2_000_000


def in_parts(examples: int, checkpoints: int, least: int) -> bool:
    """Whether a run with so many examples at so many checkpoints is done in parts, `least` being one of the above."""
    return examples * checkpoints >= least


def blocks(steps: Sequence[int], checkpoints_per_job: int) -> list[tuple[int, int]]:
    """(first, last) step of each block of checkpoints, in order; one block of all where checkpoints_per_job is 0."""
    size = checkpoints_per_job or len(steps)
    return [(steps[start], steps[min(start + size, len(steps)) - 1]) for start in range(0, len(steps), size)]


def block_steps(steps: Sequence[int], first: int, last: int) -> list[int]:
    """The steps of the block from `first` to `last`, both included."""
    return [step for step in steps if first <= step <= last]


def shard_count(examples: int, examples_per_shard: int) -> int:
    """Number of shards that so many examples are cut into; one where examples_per_shard is 0."""
    return ceil(examples / examples_per_shard) if examples_per_shard else 1


@dataclass(frozen=True)
class Cut:
    """How one result of a run is cut into jobs.

    blocks: (first, last) step of each block of checkpoints; shards: of the examples of each block; whole: made at once,
    by one job; summed: whether the shards of a block are added up by a job of their own, or joined with the blocks.
    """

    blocks: tuple[tuple[int, int], ...]
    shards: int
    whole: bool
    summed: bool

    @property
    def parts(self) -> int:
        """Jobs that work: one where the result is made at once."""
        return len(self.blocks) * self.shards

    @property
    def jobs(self) -> int:
        """All jobs of the result: parts, a sum for each sharded block, one that joins, one that puts it in place."""
        if self.whole:
            return 1
        return self.parts + (len(self.blocks) if self.summed and self.shards > 1 else 0) + 2


def cut_of(config: Config, run: Run, name: str) -> Cut:
    """How the result of this name of a run is cut into jobs."""
    steps = steps_of_result(config, run, name)
    kind = result(name)
    examples = kind.examples(config, run, size_of(config["datasets"][run.dataset]))
    measures = kind.groups(config) > 0
    if not in_parts(examples, len(steps), MEASURED_IN_PARTS if measures else EVALUATED_IN_PARTS):
        return Cut(((steps[0], steps[-1]),), 1, whole=True, summed=measures)
    sizes = config.get("operational", {})
    of_shard = sizes.get("examples_per_shard", 0) if kind.shards else 0
    if of_shard and not measures:
        of_shard = max(of_shard, EVALUATED_BATCH)
    cut = blocks(steps, sizes.get("checkpoints_per_job", 0))
    return Cut(tuple(cut), shard_count(examples, of_shard), whole=False, summed=measures)
