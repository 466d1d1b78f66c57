"""Two random halves of a training part, for second-split forgetting (Maini et al., arXiv 2210.15031).

Apart from the scores of difficulty, so that an edit of those trains nothing again.
"""

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.arguments import whole_number
from mcoherence.data.random_streams import HALVES, random_stream


def split_halves(size: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Two random halves of `size` examples: half_a_train and half_b_train, ascending int64.

    Of an odd number the second half has one more.

    Raises:
        UserError: there are fewer than 2 examples, or the seed is none.
    """
    size = whole_number("halves: number of examples", size, least=2)
    order = random_stream(seed, HALVES).permutation(size).astype(np.int64)
    half_a, half_b = np.split(order, [size // 2])
    return {"half_a_train": np.sort(half_a), "half_b_train": np.sort(half_b)}
