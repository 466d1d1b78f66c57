"""Gradient coherence along training, of each group of examples and layer."""

from collections.abc import Mapping, Sequence

import pandas as pd

from mcoherence.coherence import alpha, m_coherence, pairwise_alignment
from mcoherence.study.result_names import GROUPS
from mcoherence.study.runs import Run
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK, Column
from mcoherence.tables.inputs import coherence_of
from mcoherence.tables.runs import rows_of_runs
from mcoherence.tables.sums import Sums

COLUMNS = {
    "layer_type": Column("", "class of the layer's module, such as Conv2d; missing for the whole network"),
    "sum_sq_norm": Column("(loss/weight)²", "Q, the sum of the examples' squared gradient norms"),
    "pairwise_alignment": Column("share", "mean inner product of two examples' gradients over mean squared norm"),
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float]) -> pd.DataFrame:
    """Gradient coherence per run, checkpoint, group and layer.

    Columns: run, step, epoch, group (train, pristine, corrupt, heldout), layer ("model" or a layer's name), layer_type
    (class of the layer's module, such as Conv2d, Linear or BatchNorm2d; "" for the model), n, sum_sq_norm (Q),
    sq_norm_of_sum (|S|^2), m_coherence, alpha, pairwise_alignment, diverged.
    """
    return rows_of_runs(runs, noise, lambda run: coherence_by_layer(coherence_of(results, run)))


def coherence_by_layer(sums: Sums) -> pd.DataFrame:
    """The rows of one run, without the columns that name it."""
    frames = []
    for group in (TRAIN_GROUP, *GROUPS):
        count = sums.count(group)
        for layer in (WHOLE_NETWORK, *sums.layers):
            squared, total = sums.inner(group, group, layer), sums.total(group, layer)
            frames.append(
                pd.DataFrame(
                    {
                        "step": sums.step,
                        "epoch": sums.epoch,
                        "group": group,
                        "layer": layer,
                        "layer_type": sums.layer_types.get(layer, ""),
                        "n": count,
                        "sum_sq_norm": total,
                        "sq_norm_of_sum": squared,
                        "m_coherence": m_coherence(squared, total),
                        "alpha": alpha(squared, total, count),
                        "pairwise_alignment": pairwise_alignment(squared, total, count),
                        "diverged": sums.diverged,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)
