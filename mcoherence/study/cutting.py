"""How measuring or evaluating a run is cut into jobs: blocks of checkpoints, and shards of the examples.

Whether a run is done in parts follows from its work alone, which nothing operational changes. Snakemake runs a job
again whose set of input files changed; results made at once would be made again when they could be asked for in parts.
This way the sizes of blocks and shards change nothing but jobs that are still to run.

This module is read when Snakemake parses the workflow, so it imports nothing heavy.
"""

from collections.abc import Mapping, Sequence
from math import ceil

from mcoherence.study.data_sizes import Size

OPERATIONAL = True  # no number depends on it; docs/reruns.md

# Work from which a run is done in parts, in examples times checkpoints: below, to start jobs costs more than they gain.
MEASURED_IN_PARTS = 200_000
EVALUATED_IN_PARTS = 2_000_000


def measured_examples(result: str, measurement: Mapping[str, int], size: Size) -> int:
    """How many examples a measured result takes at each checkpoint of a run.

    Args:
        result: coherence, coherence_mM for a sample of M, contributions or difficulty_coherence.
        measurement: the section of the config.
        size: of the data set.
    """
    sample, heldout = min(measurement["sample_size"], size.train), min(measurement["heldout_size"], size.test)
    if result == "contributions":
        return sample
    if result == "difficulty_coherence":  # of easy, hard and random examples, all of them training examples
        return min(3 * (sample + heldout), size.train)
    if result != "coherence":
        sample = min(int(result.removeprefix("coherence_m")), size.train)
    return sample + heldout


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
