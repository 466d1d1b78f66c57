"""Edit -> the jobs that run, nothing more and nothing less; docs/reruns.md is this table, written out."""

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
REPORT = {"describe_study": 1, "report": 1}
CLAIMS = {"check_claims": 1, **REPORT}
DRAW_COHERENCE = {
    f"draw_{name}": 1
    for name in (
        "summary", "coherence_by_step", "coherence_by_loss", "layer_coherence", "pristine_corrupt",
        "group_alignment", "contributions", "early_stopping",
    )
}  # fmt: skip
DRAW_TRAINING = {
    f"draw_{name}": 1
    for name in (
        "summary", "coherence_by_loss", "training_curves", "generalization_gap", "optimizers", "early_stopping",
    )
}  # fmt: skip
DRAW_EASY_HARD = {"draw_summary": 1, "draw_easy_hard": 1}
DRAW_DIFFICULTY = {"draw_difficulty": 1, "draw_examples": 1}
DRAW_ALL = DRAW_COHERENCE | DRAW_TRAINING | DRAW_EASY_HARD | DRAW_DIFFICULTY
# Two label sets x three optimisers x two seeds, and three subsets x two seeds.
NOISE_RUNS, SUBSET_RUNS = 12, 6
ALL_RUNS = NOISE_RUNS + SUBSET_RUNS
SCORED = {"score_difficulty": 1, "split_easy_hard": 1}


def trained(runs: int) -> dict[str, int]:
    """The jobs that train so many runs: the study has two segments, of six updates each."""
    return {"train": runs, "train_from_6": runs}


def measured(runs: int) -> dict[str, int]:
    """The jobs that measure so many runs of the label-noise experiment, half of them on partly random labels."""
    return {"measure_coherence": runs, "measure_contributions": runs // 2}


AFTER_TRAINING = {"evaluate": ALL_RUNS} | measured(NOISE_RUNS) | SCORED | {"tabulate": 10} | DRAW_ALL | CLAIMS
EVERYTHING_AFTER_TRAINING = trained(ALL_RUNS) | AFTER_TRAINING
# What follows when checkpoints come or go at the end: the easy/hard split is made again, and with it the runs on it.
OTHER_CHECKPOINTS = trained(SUBSET_RUNS) | AFTER_TRAINING


ORDER = (
    "prepare_dataset", "corrupt_labels", "train", "train_from_6", "train_from_12", "evaluate", "measure_coherence",
    "measure_contributions", "score_difficulty", "split_easy_hard", "tabulate", *DRAW_ALL, "all figures", "check_claims", "describe_study", "report",
)  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """Replace `old` by `new` in `file`, or append `new` where `old` is "".

    The file "" stands for no edit, and "." for touching every file.
    """

    what: str
    file: str
    old: str
    new: str
    jobs: dict[str, int]


EDITS = (
    Edit("nothing", "", "", "", {}),
    Edit("new time stamps on all files, as after a fresh clone", ".", "", "", {}),
    Edit("a comment in a module of the library", "mcoherence/optim/rolling.py", "class RM3(", "# Rolling.\nclass RM3(", {}),
    Edit("a docstring of a module of the library", "mcoherence/training.py", "Read from top to bottom:", "From top to bottom:", {}),
    Edit("`device`, an operational setting", "miniature.yaml", "study: miniature", "study: miniature\ndevice: cpu", {}),
    Edit("`operational`, how training jobs run", "miniature.yaml", "study: miniature", "study: miniature\noperational: {resume_interval: 9}", {}),
    Edit("`data_folder`, an operational setting", "miniature.yaml", "study: miniature", "study: miniature\ndata_folder: elsewhere", {}),
    Edit("how a source that the study does not use is read", "mcoherence/data/glyphs.py", "GLYPHS, part", "GLYPHS, part + 0", {}),
    Edit("the caption of a figure", "docs/captions/figures/easy_hard.rst", "", "\nOne more sentence.\n", {"report": 1}),
    Edit("a figure's colour", "config.yaml", "#0072B2", "#0072B3", DRAW_ALL | REPORT),
    Edit("the code of one figure", "mcoherence/figures/easy_hard.py", "import", "PADDING = 1\nimport", {"draw_easy_hard": 1} | REPORT),
    Edit("the code of the claims", "mcoherence/claims.py", '"epoch <= 5"', '"epoch <= 6"', CLAIMS),
    Edit("the confidence of the claims", "config.yaml", "confidence: 0.95", "confidence: 0.9", CLAIMS),
    Edit(
        "the sample size of the measurement", "miniature.yaml", "sample_size: 50", "sample_size: 40",
        measured(NOISE_RUNS) | {"tabulate": 4} | DRAW_COHERENCE | CLAIMS,
    ),
    Edit(
        "a layer rule of the gradient engine", "mcoherence/gradients/layer_rules/linear.py", "norms = {}", "norms = dict()",
        measured(NOISE_RUNS) | {"tabulate": 4} | DRAW_COHERENCE | CLAIMS,
    ),
    Edit(
        "the code of the evaluation", "mcoherence/evaluation.py", "dtype=np.float32), np.full", "dtype=np.float32) + 0, np.full",
        trained(SUBSET_RUNS) | {"evaluate": ALL_RUNS, "tabulate": 7} | SCORED | DRAW_TRAINING | DRAW_EASY_HARD
        | DRAW_DIFFICULTY | CLAIMS,
    ),
    Edit(
        "the share that is called easy", "config.yaml", "fraction: 0.5\n  test", "fraction: 0.4\n  test",
        {"split_easy_hard": 1, "evaluate": SUBSET_RUNS, "tabulate": 2} | trained(SUBSET_RUNS) | DRAW_EASY_HARD
        | {"draw_difficulty": 1} | CLAIMS,
    ),
    Edit(
        "one seed of the label-noise experiment", "miniature.yaml", "seeds: [0, 1]\neasy", "seeds: [0, 2]\neasy",
        {"corrupt_labels": 2, "evaluate": 6, "tabulate": 7} | measured(6) | trained(6)
        | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit(
        "one seed of the retraining", "miniature.yaml", "seeds: [10, 11]", "seeds: [10, 12]",
        {"corrupt_labels": 1, "evaluate": 3, "tabulate": 1} | trained(3) | DRAW_EASY_HARD | CLAIMS,
    ),
    Edit(
        "the rate of one optimiser", "config.yaml", "rm3, lr: 0.3", "rm3, lr: 0.2",
        {"evaluate": 4, "tabulate": 7} | measured(4) | trained(4) | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit(
        "the schedule of one optimiser's rate", "config.yaml", "rm3, lr: 0.3", "rm3, lr: 0.3, schedule: {kind: step, milestones: [6]}",
        {"evaluate": 4, "tabulate": 7} | measured(4) | trained(4) | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit(
        "two settings that swap their values", "miniature.yaml", "sample_size: 50\n  heldout_size: 20", "sample_size: 20\n  heldout_size: 50",
        measured(NOISE_RUNS) | {"tabulate": 4} | DRAW_COHERENCE | CLAIMS,
    ),
    Edit(
        "more updates, in segments of the same length", "miniature.yaml", "updates: 12", "updates: 18",
        {"train_from_12": ALL_RUNS} | OTHER_CHECKPOINTS,
    ),
    Edit("fewer updates, a segment less", "miniature.yaml", "updates: 12", "updates: 6", {"train": SUBSET_RUNS} | AFTER_TRAINING),
    Edit(
        "when runs are saved", "miniature.yaml", "per_doubling: 1", "per_doubling: 2", EVERYTHING_AFTER_TRAINING,
    ),
    Edit("the code of an optimiser", "mcoherence/optim/descent.py", "a positive number", "some positive number", EVERYTHING_AFTER_TRAINING),
    Edit(
        "the way labels are corrupted", "mcoherence/data/corruption.py", "random_stream(seed,", "random_stream(seed + 0,",
        {"corrupt_labels": 6} | EVERYTHING_AFTER_TRAINING,
    ),
    Edit(
        "how the digits are read", "mcoherence/data/digits.py", "np.rint", "np.round",
        {"prepare_dataset": 1, "corrupt_labels": 6} | EVERYTHING_AFTER_TRAINING,
    ),
)  # fmt: skip


@contextmanager
def applied(edit: Edit, folder: Path):
    """The edit made inside the block, and taken back after it, contents and time stamps alike."""
    if edit.file in ("", "."):
        if edit.file == ".":
            for path in folder.rglob("*"):
                if path.is_file() and not path.is_relative_to(folder / "results") and ".snakemake" not in path.parts:
                    os.utime(path)
        yield
        return
    path = folder / edit.file
    kept = path.with_name(f"{path.name}.kept")
    shutil.copy2(path, kept)
    text = path.read_text()
    assert edit.old in text, edit
    path.write_text(text.replace(edit.old, edit.new, 1) if edit.old else text + edit.new)
    try:
        yield
    finally:
        kept.replace(path)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.what)
def test_an_edit_runs_exactly_what_depends_on_it(study, edit):
    with applied(edit, study.folder):
        assert study.planned() == {rule: count for rule, count in edit.jobs.items() if count}


def as_markdown() -> str:
    """The table of docs/reruns.md: rules in the order of the workflow."""
    lines = ["| edit | rules that run |", "| --- | --- |"]
    for edit in EDITS:
        jobs = {rule: count for rule, count in edit.jobs.items() if count}
        if DRAW_ALL.keys() <= jobs.keys():
            jobs = {rule: count for rule, count in jobs.items() if rule not in DRAW_ALL} | {"all figures": 1}
        lines.append(f"| {edit.what} | {', '.join(sorted(jobs, key=ORDER.index)) or 'none'} |")
    return "\n".join(lines) + "\n"


def test_the_documented_table_is_this_one():
    documented = (ROOT / "docs/reruns.md").read_text()
    assert as_markdown() in documented, f"docs/reruns.md: replace its table by\n{as_markdown()}"
