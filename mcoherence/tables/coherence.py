"""Gradient coherence along training, of each group of examples and layer."""

from collections.abc import Mapping, Sequence

import pandas as pd

from mcoherence.study.result_names import GROUPS, REDRAWN
from mcoherence.study.runs import Run
from mcoherence.tables.columns import TRAIN_GROUP, WHOLE_NETWORK, Column
from mcoherence.tables.inputs import coherence_of
from mcoherence.tables.rows import rows_of_blocks
from mcoherence.tables.runs import rows_of_runs
from mcoherence.tables.sums import Sums

COLUMNS = {
    "layer_type": Column("", "class of the layer's module, such as Conv2d; missing for the whole network"),
    "sum_sq_norm": Column("(loss/weight)²", "Q, the sum of the examples' squared gradient norms"),
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float]) -> pd.DataFrame:
    """Gradient coherence per run, checkpoint, group and layer.

    Columns: run, step, epoch, group (train, pristine, corrupt, heldout, and redrawn, the training sample with labels
    redrawn, where it was measured), layer ("model" or a layer's name), layer_type (class of the layer's module, such as
    Conv2d, Linear or BatchNorm2d; "" for the model), n, sum_sq_norm (Q), sq_norm_of_sum (|S|^2), m_coherence, alpha,
    pairwise_alignment, batch_norm, diverged. Of a measurement by mini-batches there are the groups train, heldout and
    redrawn, without Q.
    """
    return rows_of_runs(runs, noise, lambda run: coherence_by_layer(coherence_of(results, run)))


def coherence_by_layer(sums: Sums, groups: Sequence[str] = (TRAIN_GROUP, *GROUPS, REDRAWN)) -> pd.DataFrame:
    """The rows of one run, of those of the groups that it was measured in, without the columns that name it."""
    blocks = []
    for group in filter(sums.has, groups):
        count = sums.count(group)
        for layer in (WHOLE_NETWORK, *sums.layers):
            blocks.append(
                {
                    "step": sums.step,
                    "epoch": sums.epoch,
                    "group": group,
                    "layer": layer,
                    "layer_type": sums.layer_types.get(layer, ""),
                    "n": count,
                    "sum_sq_norm": sums.total(group, layer),
                    "sq_norm_of_sum": sums.inner(group, group, layer),
                    **sums.measures(group, layer),
                    "batch_norm": sums.batch_norm,
                    "diverged": sums.diverged,
                }
            )
    return rows_of_blocks(blocks)
