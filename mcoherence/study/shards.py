"""Batches and shards of the examples that a job evaluates or measures; light, as the plan reads it too."""

EVALUATED_BATCH = 1024  # examples that are evaluated at a time, the least that a shard of an evaluation has
MEASURED_BATCH = 256  # examples whose gradients are measured at a time


def shard(size: int, number: int, shards: int) -> slice:
    """Which of `size` things are in shard `number` (from 0) of `shards`: neighbours, as evenly as can be."""
    return slice(size * number // shards, size * (number + 1) // shards)
