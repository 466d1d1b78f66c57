"""Coherence of one run on training samples of several sizes."""

from collections.abc import Mapping, Sequence

import pandas as pd

from mcoherence.errors import UserError
from mcoherence.study.result_names import OTHER_SAMPLE
from mcoherence.study.runs import Run
from mcoherence.tables.columns import TRAIN_GROUP, Column
from mcoherence.tables.inputs import coherence_of
from mcoherence.tables.runs import rows_of_runs
from mcoherence.tables.sums import Sums

COLUMNS = {
    "m": Column("examples", "size of the measured training sample"),
    "own_sample": Column("", "whether it is the sample of coherence.h5, of which the others have no example"),
}


def table(results: str, runs: Sequence[Run], noise: Mapping[str, float], *, sizes: Sequence[int]) -> pd.DataFrame:
    """The whole network's coherence on training samples of several sizes: a row per run, size and checkpoint.

    Columns: run, step, epoch, m (examples in the sample), own_sample (whether it is that of coherence.h5, with which
    the others share no example), m_coherence, alpha, pairwise_alignment, batch_norm, diverged.

    Args:
        results: the study's folder.
        runs: those measured on every size.
        noise: label set -> fraction of random labels.
        sizes: those besides the study's own.
    """
    names = ["coherence", *(f"{OTHER_SAMPLE}{size}" for size in sizes)]

    def rows_of(run: Run) -> pd.DataFrame:
        frames = []
        for name in names:
            rows = coherence_of_sample(coherence_of(results, run, name))
            rows.insert(3, "own_sample", name == "coherence")
            frames.append(rows)
        measured = [int(rows["m"].iloc[0]) for rows in frames]
        if len(set(measured)) < len(measured):
            raise UserError(
                f"sample_size.sizes: found samples of {', '.join(map(str, measured))} examples, expected different "
                "sizes; no sample shares an example with the study's own, so that few may be left: lower one"
            )
        return pd.concat(frames, ignore_index=True)

    return rows_of_runs(runs, noise, rows_of)


def coherence_of_sample(sums: Sums) -> pd.DataFrame:
    """The rows of one run on one sample, without the columns that name the run."""
    return pd.DataFrame(
        {
            "step": sums.step,
            "epoch": sums.epoch,
            "m": sums.count(TRAIN_GROUP),
            **sums.measures(TRAIN_GROUP),
            "batch_norm": sums.batch_norm,
            "diverged": sums.diverged,
        }
    )
