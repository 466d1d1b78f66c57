"""Batches and shards of the examples that a job evaluates or measures; light, as the plan reads it too."""

from dataclasses import dataclass

# Examples that are evaluated at a time, the least that a shard of an evaluation has; and those whose gradients are
# measured at a time. Fewer where so many do not fit in memory, see `batch_within`.
EVALUATED_BATCH = 1024
MEASURED_BATCH = 256


def batch_within(memory_bytes: float | None, bytes_of_example: float, most: int) -> int:
    """Examples of a batch that fits in so much memory: `most`, or a half, a quarter, ... of it; one at least.

    Halves, so that shards begin where batches begin whatever their size.

    Args:
        memory_bytes: that a batch may take; None for any number.
        bytes_of_example: that each example of it takes.
        most: a power of two.

    Example:
        >>> batch_within(1000, 3, 256), batch_within(1000, 30, 256), batch_within(None, 30, 256)
        (256, 32, 256)
    """
    batch = most
    while memory_bytes is not None and batch > 1 and batch * bytes_of_example > memory_bytes:
        batch //= 2
    return batch


@dataclass(frozen=True)
class Shard:
    """Which share of the examples a job takes: number `number` (from 0) of `count`; by default all of them."""

    number: int = 0
    count: int = 1

    def rows(self, size: int) -> slice:
        """Which of `size` things are in it: neighbours, as evenly as can be."""
        return slice(size * self.number // self.count, size * (self.number + 1) // self.count)
