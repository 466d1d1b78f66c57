"""Score how hard each training example is: evaluations of the reference runs -> difficulty.h5."""

from pathlib import Path

import numpy as np

from mcoherence.data.store import read_labels
from mcoherence.errors import UserError
from mcoherence.files.hdf5 import open_hdf5, write_hdf5
from mcoherence.files.provenance import provenance
from mcoherence.measuring.difficulty import DIFFICULTY_SCHEMA, forgetting_events, learned_at, ranks_in_runs
from mcoherence.study.result_names import EVALUATION_SCHEMA
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """What each reference run says of each example, and the score: its mean rank over the runs that did not diverge.

    Raises:
        UserError: all of them diverged.
    """
    parser = settings_parser(__doc__)
    parser.add_argument("--evaluations", type=Path, nargs="+", required=True)
    parser.add_argument("--labels", type=Path, nargs="+", required=True)
    parser.add_argument("--difficulty", type=Path, required=True)
    arguments = parser.parse_args()
    learned, mean_loss, events, diverged = [], [], [], []
    for evaluation, labels in zip(arguments.evaluations, arguments.labels, strict=True):
        with open_hdf5(evaluation, EVALUATION_SCHEMA) as file:
            correct = file["train/prediction"][:] == read_labels(labels).labels
            learned.append(learned_at(correct, file["step"][:]))
            events.append(forgetting_events(correct))
            mean_loss.append(file["train/loss"][:].mean(axis=0, dtype=np.float64))
            diverged.append(bool(file["diverged"][-1]))
    trained = ~np.array(diverged)
    if not trained.any():
        raise UserError(
            f"{arguments.evaluations[0]}: the run diverged, as all {len(diverged)} reference runs did, expected one "
            "that trained; lower the lr of the optimiser that easy_hard.optimizer names"
        )
    rank = ranks_in_runs(np.stack(learned), np.stack(mean_loss))
    datasets = {
        "learned_at": np.stack(learned),
        "mean_loss": np.stack(mean_loss),
        "forgetting_events": np.stack(events),
        "rank": rank,
        "score": rank[trained].mean(axis=0),
        "diverged": ~trained,
        "reference_seed": np.array(arguments.settings["reference_seeds"], dtype=np.int64),
    }
    attributes = provenance(arguments.settings, [*arguments.evaluations, *arguments.labels])
    write_hdf5(arguments.difficulty, DIFFICULTY_SCHEMA, datasets, attributes)


if __name__ == "__main__":
    run(main)
