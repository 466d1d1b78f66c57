"""Independent random streams: what a seed is used for is part of the seed.

Two draws from one seed that share a stream are not independent. A sample of 360 out of 720 examples and a selection of
360 labels to corrupt, both drawn first from the stream of seed 0, would be the same 360 examples.
"""

import numpy as np

from mcoherence.data.arguments import GREATEST_SEED, whole_number

# Every purpose has a stream of its own; a number once given is never given to something else.
(
    INITIAL_WEIGHTS, EXAMPLE_ORDER, LABEL_CORRUPTION, AUGMENTATION, GLYPHS, STRATIFIED_PART, RANDOM_LAYERS,
    MEASURED_SAMPLE, EASY_HARD_SPLIT, NULL_WORLDS, HALVES, DIFFICULTY_SAMPLE, REDRAWN_LABELS, MEASURED_MINIBATCHES,
    CONFUSION_MINI_BATCHES, EVALUATED_SAMPLE,
) = range(16)  # fmt: skip


def random_stream(seed: int, *purpose: int) -> np.random.Generator:
    """A generator for one purpose, independent of those for other purposes of the same seed.

    Args:
        seed: from 0 to 2**63 - 1.
        purpose: one of the numbers above, and where needed positions within it, such as the epoch.

    Raises:
        UserError: the seed is something else.
    """
    seed = whole_number("seed", seed, least=0, most=GREATEST_SEED)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=purpose)))
