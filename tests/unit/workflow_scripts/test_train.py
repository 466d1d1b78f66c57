"""What the training job says of a run that diverged."""

from types import SimpleNamespace

import numpy as np
import pytest

from mcoherence.training.loop import TrainingLog
from workflow_scripts.train import report_divergence

SETTINGS = SimpleNamespace(optimizer={"lr": 1000.0})


@pytest.mark.parametrize(
    ("start", "losses", "said"),
    [
        (0, [2.0, np.nan], "the loss was nan at update 1"),
        (0, [2.0], "weights were not finite at update 1"),
        (8, [], "an earlier segment ended so, at update 1"),  # nothing more was trained in this one
    ],
)
def test_a_run_that_diverged_says_when_and_how_in_a_segment_of_its_own_and_in_later_ones(start, losses, said, capsys):
    log = TrainingLog(start, np.arange(len(losses), dtype=np.float64), np.array(losses))
    report_divergence(log, 1, SETTINGS)
    words = capsys.readouterr().err
    assert words.startswith(f"training diverged: {said}; the checkpoints after it hold NaN")
    assert "lower the optimiser's lr (found 1000)" in words
