"""What pristine and corrupt examples contribute to the gradient, beside null worlds with shuffled tags.

Index letters: W worlds, C cells (groups of examples that carry the same tag in every world), K checkpoints.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mcoherence.coherence import contribution
from mcoherence.files.hdf5 import open_hdf5
from mcoherence.measuring.worlds import inner_with_total, over_updates
from mcoherence.study.result_names import CONTRIBUTIONS_SCHEMA
from mcoherence.study.runs import Run
from mcoherence.tables.columns import MEASURED_WORLD, Column
from mcoherence.tables.rows import rows_of_blocks
from mcoherence.tables.runs import rows_of_runs
from mcoherence.tables.sums import Sums

COLUMNS = {
    "world": Column("", "whose tags pristine and corrupt: measured, or null 1, ..., shuffled among the same examples"),
    "n_pristine": Column("examples", "measured examples tagged pristine"),
    "n_corrupt": Column("examples", "measured examples tagged corrupt"),
    "f_pristine": Column("share", "S_p · S / |S|² of the measured sample, the pristine share (arXiv 2002.10657)"),
    "f_corrupt": Column("share", "S_c · S / |S|², the corrupt share; the two add up to 1"),
    "i_pristine": Column("(loss/weight)²", "sum over updates of g · g^p per pristine example, by trapezoids"),
    "i_corrupt": Column("(loss/weight)²", "the same of g · g^c per corrupt example"),
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float]) -> pd.DataFrame:
    """What pristine and corrupt examples contribute to the gradient, per run, checkpoint and world.

    The gradient is that of the fixed measured sample, where arXiv 2002.10657 takes the mini-batch's at every update.

    i_pristine and i_corrupt are estimates that do not see what happens between checkpoints.
    What the columns mean is in `COLUMNS` and in `mcoherence.tables.dictionary`.
    """
    return rows_of_runs(runs, noise, lambda run: contributions_of_file(Path(run.file(results, "contributions"))))


def contributions_of_file(path: Path) -> pd.DataFrame:
    """The rows of one run, without the columns that name it, from its contributions.h5."""
    sums = Sums.read(path, CONTRIBUTIONS_SCHEMA).over_parameters()
    with open_hdf5(path, CONTRIBUTIONS_SCHEMA) as file:
        corrupt = file["corrupt_cells"][:]  # bool [W, C]
    n, gram = sums.n[0], sums.gram[..., 0]  # [C], the same at every checkpoint; [K, C, C]
    squared = gram.sum(axis=(1, 2))
    blocks = []
    for world, cells in enumerate(corrupt):
        columns: dict[str, Any] = {
            "step": sums.step,
            "epoch": sums.epoch,
            "world": MEASURED_WORLD if world == 0 else f"null {world}",
        }
        groups = {"pristine": ~cells, "corrupt": cells}
        columns |= {f"n_{group}": int(n[members].sum()) for group, members in groups.items()}
        columns["sq_norm_of_sum"] = squared
        inner = {group: inner_with_total(gram, members) for group, members in groups.items()}
        columns |= {f"f_{group}": contribution(inner[group], squared) for group in groups}
        for group in groups:
            count = columns[f"n_{group}"]
            rate = inner[group] / (n.sum() ** 2 * count) if count else np.full(len(sums.step), np.nan)
            columns[f"i_{group}"] = over_updates(sums.step, rate)
        blocks.append(columns | {"batch_norm": sums.batch_norm, "diverged": sums.diverged})
    return rows_of_blocks(blocks)
