"""Edit -> the jobs that run, nothing more and nothing less; docs/reruns.md is this table, written out."""

import os
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.apart]

ROOT = Path(__file__).parents[2]
REPORT = {"describe_study": 1, "page": 1, "report": 1}
CLAIMS = {"check_claims": 1, **REPORT}
DRAW_COHERENCE = {
    f"draw_{name}": 1
    for name in (
        "summary", "coherence_by_step", "coherence_by_loss", "layer_coherence", "alignment_by_step", "pristine_corrupt",
        "group_alignment", "contributions", "early_stopping",
    )
}  # fmt: skip
DRAW_WHOLE_COHERENCE = {rule: 1 for rule in DRAW_COHERENCE if rule != "draw_contributions"}  # of coherence.h5
DRAW_TRAINING = {
    f"draw_{name}": 1
    for name in (
        "summary", "coherence_by_loss", "training_curves", "generalization_gap", "optimizers", "early_stopping", "equal_fit",
    )
}  # fmt: skip
DRAW_EASY_HARD = {"draw_summary": 1, "draw_easy_hard": 1}
DRAW_DIFFICULTY = {"draw_difficulty": 1, "draw_examples": 1}
DRAW_ALL = DRAW_COHERENCE | DRAW_TRAINING | DRAW_EASY_HARD | DRAW_DIFFICULTY
# Two label sets x three optimisers x two seeds, and three subsets x two seeds.
NOISE_RUNS, SUBSET_RUNS = 12, 6
ALL_RUNS = NOISE_RUNS + SUBSET_RUNS
CHECKED = {"check_network": 1}
SCORED = {"score_difficulty": 1, "split_easy_hard": 1}


def trained(runs: int) -> dict[str, int]:
    """The jobs that train so many runs: the study has two segments, of six updates each."""
    return {"train": runs, "train_from_6": runs}


def measured(runs: int) -> dict[str, int]:
    """The jobs that measure so many runs of the label-noise experiment, half of them on partly random labels."""
    return {"measure_coherence": runs, "measure_contributions": runs // 2}


AFTER_TRAINING = {"evaluate": ALL_RUNS} | measured(NOISE_RUNS) | SCORED | {"tabulate": 11} | DRAW_ALL | CLAIMS
EVERYTHING_AFTER_TRAINING = trained(ALL_RUNS) | AFTER_TRAINING
# What follows when checkpoints come or go at the end: the easy/hard split is made again, and with it the runs on it.
OTHER_CHECKPOINTS = trained(SUBSET_RUNS) | AFTER_TRAINING


ORDER = (
    "prepare_dataset", "corrupt_labels", "check_network", "train", "train_from_6", "train_from_12", "evaluate", "measure_coherence_part",
    "join_measurement", "measure_coherence", "measure_contributions", "score_difficulty", "split_easy_hard", "tabulate", *DRAW_ALL, "draw_winsorization", "all figures", "check_claims", "describe_study", "page", "report",
)  # fmt: skip


RECORDS = ".snakemake/metadata"  # Snakemake's, of what made each file


@dataclass(frozen=True)
class Edit:
    """Replace `old` by `new` in `file`, or append `new` where `old` is "", and make the replacements `besides`.

    The file "" stands for no edit, and "." for touching every file. `arguments` are further ones for Snakemake.
    """

    what: str
    file: str
    old: str
    new: str
    jobs: dict[str, int]
    besides: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()


EDITS = (
    Edit("nothing", "", "", "", {}),
    Edit("new time stamps on all files, as after a fresh clone", ".", "", "", {}),
    Edit("a comment in a module of the library", "mcoherence/optim/rm3.py", "class RM3(", "# Rolling.\nclass RM3(", {}),
    Edit("a docstring of a module of the library", "mcoherence/training/loop.py", "Read from top to bottom:", "From top to bottom:", {}),
    Edit("`device`, an operational setting", "miniature.yaml", "study: miniature", "study: miniature\ndevice: cpu", {}),
    Edit("`operational`, how training jobs run", "miniature.yaml", "study: miniature", "study: miniature\noperational: {resume_interval: 9}", {}),
    Edit("`operational`, how measuring is cut into jobs", "miniature.yaml", "study: miniature", "study: miniature\noperational: {checkpoints_per_job: 2, examples_per_shard: 9}", {}),
    Edit("`data_folder`, an operational setting", "miniature.yaml", "study: miniature", "study: miniature\ndata_folder: elsewhere", {}),
    Edit("`download`, an operational setting", "miniature.yaml", "study: miniature", "study: miniature\ndownload: false", {}),
    Edit("another profile, as on another machine", "", "", "", {}, arguments=("--workflow-profile", "none")),
    Edit("the folder `.snakemake` lost, results kept", RECORDS, "", "", {}),
    Edit("the comment of a rule", "rules/train.smk", "# Training, segment", "# Training: segment", {}),
    Edit("a description in the schema of the config", "schemas/config.schema.json", '"description": "', '"description": "Now: ', {}),
    Edit("the check of a config", "mcoherence/study/schema_checks.py", "cutoff=0.5", "cutoff=0.6", {}),
    Edit("how networks are checked", "mcoherence/audit/network_checks.py", "EXAMPLES = 4", "EXAMPLES = 5", {}),
    Edit("the progress bar", "mcoherence/files/progress.py", "SECONDS_BETWEEN_LINES = 15.0", "SECONDS_BETWEEN_LINES = 30.0", {}),
    Edit("the text of an error", "mcoherence/device.py", "expected one that this machine has", "expected one of this machine's", {}),
    Edit("the text of an error of an optimiser", "mcoherence/optim/descent.py", "__name__}: found", "__name__}: got", {}),
    Edit("how a user's mistake is printed", "workflow_scripts/jobs/entry.py", "error: {refused}", "mistake: {refused}", {}),
    Edit("the help of an option", "workflow_scripts/command_line.py", "the rule's settings, one JSON object", "settings of the rule as JSON", {}),
    Edit("a guess of memory", "mcoherence/study/data_sizes.py", "ACTIVATIONS_OF_LARGE, LARGE_SIDE = 800", "ACTIVATIONS_OF_LARGE, LARGE_SIDE = 900", {}),
    Edit("the size from which a run is measured in parts, above that of the study's runs", "mcoherence/study/cutting.py", "MEASURED_IN_PARTS = 200_000", "MEASURED_IN_PARTS = 300_000", {}),
    Edit("how a source that the study does not use is read", "mcoherence/data/glyphs.py", "GLYPHS, part", "GLYPHS, part + 0", {}),
    Edit("an optimiser that the study does not use", "mcoherence/optim/adamw.py", "import math", "import math\n\nUNUSED = 1", {}),
    Edit("a network that the study does not use", "mcoherence/models/mlp.py", "from torch import nn", "from torch import nn\n\nUNUSED = 1", {}),
    Edit("an optimiser more in the entries", "mcoherence/optim/methods.py", '    "adam": Method(', '    "again": Method(optimizer="SGD", words="", source=""),\n    "adam": Method(', REPORT),
    Edit("the caption of a figure", "docs/captions/figures/easy_hard.rst", "", "\nOne more sentence.\n", {"page": 1, "report": 1}),
    Edit("a figure's colour", "miniature.yaml", "#0072B2", "#0072B3", DRAW_ALL | REPORT),
    Edit("a section of an experiment that the study does not make", "miniature.yaml", "study: miniature", "study: miniature\ntoy: {lr: 0.2}", REPORT),
    Edit("a comment in a config file", "miniature.yaml", "study: miniature", "study: miniature # again", {}),
    Edit(
        "a figure more", "mcoherence/study/experiments/label_noise.py",
        "made=lambda config: bool(winsorization(config))", "made=lambda config: True",
        {"draw_winsorization": 1} | REPORT,
    ),
    Edit("an experiment less", "miniature.yaml", "easy_hard, contributions]", "easy_hard]", CLAIMS),
    Edit("the code of one figure", "mcoherence/figures/easy_hard.py", "import", "PADDING = 1\nimport", {"draw_easy_hard": 1} | REPORT),
    Edit("the command that draws figures", "workflow_scripts/draw.py", "from pathlib", "UNUSED = 1\nfrom pathlib", DRAW_ALL | REPORT),
    Edit("the code of the claims", "mcoherence/claims/power.py", "POWER = 0.8", "POWER = 0.9", CLAIMS),
    Edit("a threshold of one claim", "miniature.yaml", "claims:\n", "claims:\n  near: 4\n", CLAIMS),
    Edit("the confidence of the claims", "miniature.yaml", "confidence: 0.95", "confidence: 0.9", CLAIMS),
    Edit("the first step that claims look at", "miniature.yaml", "claims:\n", "claims:\n  first_step: 3\n", CLAIMS),
    Edit(
        "the number of null worlds", "miniature.yaml", "{optimizers: []}", "{optimizers: [], null_worlds: 3}",
        {"measure_contributions": 6, "tabulate": 1, "draw_contributions": 1} | CLAIMS,
    ),
    Edit(
        "the code of the scores", "mcoherence/measuring/difficulty.py", "\nimport numpy", "\nUNUSED = 1\nimport numpy",
        {"evaluate": SUBSET_RUNS, "tabulate": 4} | trained(SUBSET_RUNS) | SCORED | DRAW_EASY_HARD | DRAW_DIFFICULTY | CLAIMS,
    ),
    Edit(
        "the code of one table", "mcoherence/tables/group_alignment.py", "import pandas as pd", "import pandas as pd\n\nUNUSED = 1",
        {"tabulate": 1, "draw_group_alignment": 1} | CLAIMS,
    ),
    Edit("the code of the tables", "mcoherence/tables/runs.py", "import pandas as pd", "import pandas as pd\n\nUNUSED = 1", {"tabulate": 11} | DRAW_ALL | CLAIMS),
    Edit(
        "another set of held-out examples to measure", "miniature.yaml", "heldout_size: 20", "heldout_size: 30",
        {"measure_coherence": NOISE_RUNS, "tabulate": 3} | DRAW_WHOLE_COHERENCE | CLAIMS,
    ),
    Edit(
        "the sample size of the measurement", "miniature.yaml", "sample_size: 50", "sample_size: 40",
        measured(NOISE_RUNS) | {"tabulate": 4} | DRAW_COHERENCE | CLAIMS,
    ),
    Edit(
        "what batch norm normalises by", "miniature.yaml", "sample_size: 50", "sample_size: 50\n  batch_norm: sample",
        measured(NOISE_RUNS) | {"tabulate": 4} | DRAW_COHERENCE | CLAIMS,
    ),
    Edit(
        "labels redrawn in the runs of every optimiser", "miniature.yaml", "sample_size: 50", "sample_size: 50\n  redrawn_labels: all",
        {"measure_coherence": NOISE_RUNS * 2 // 3, "tabulate": 3} | DRAW_WHOLE_COHERENCE | CLAIMS,
    ),
    Edit(  # 70 examples at 7 checkpoints, but 50 examples for contributions
        "the size from which a run is measured in parts, between those of the study's runs", "mcoherence/study/cutting.py", "MEASURED_IN_PARTS = 200_000", "MEASURED_IN_PARTS = 400",
        {"measure_coherence_part": NOISE_RUNS, "join_measurement": NOISE_RUNS, "measure_coherence": NOISE_RUNS, "tabulate": 3} | DRAW_WHOLE_COHERENCE | CLAIMS,
    ),
    Edit(
        "a layer rule of the gradient engine", "mcoherence/gradients/layer_rules/linear.py", "norms = {}", "norms = dict()",
        measured(NOISE_RUNS) | {"tabulate": 4} | DRAW_COHERENCE | CLAIMS,
    ),
    Edit(
        "the code of the evaluation", "mcoherence/measuring/evaluation.py", "dtype=np.float32), np.full", "dtype=np.float32) + 0, np.full",
        trained(SUBSET_RUNS) | {"evaluate": ALL_RUNS, "tabulate": 8} | SCORED | DRAW_TRAINING | DRAW_EASY_HARD
        | DRAW_DIFFICULTY | CLAIMS,
    ),
    Edit(
        "the share that is called easy", "miniature.yaml", "fraction: 0.5\n  test", "fraction: 0.4\n  test",
        {"split_easy_hard": 1, "evaluate": SUBSET_RUNS, "tabulate": 2} | trained(SUBSET_RUNS) | DRAW_EASY_HARD
        | {"draw_difficulty": 1} | CLAIMS,
    ),
    Edit(
        "one seed of the label-noise experiment", "miniature.yaml", "seeds: [0, 1]\neasy", "seeds: [0, 2]\neasy",
        {"corrupt_labels": 2, "evaluate": 6, "tabulate": 8} | measured(6) | trained(6)
        | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit(
        "a seed more of the label-noise experiment", "miniature.yaml", "seeds: [0, 1]\neasy", "seeds: [0, 1, 2]\neasy",
        {"corrupt_labels": 2, "evaluate": 6, "tabulate": 8} | measured(6) | trained(6)
        | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit(
        "a noise level more", "miniature.yaml", "labels: [clean, half_random]", "labels: [clean, half_random, all_random]",
        {"corrupt_labels": 2, "evaluate": 6, "tabulate": 7, "measure_coherence": 6} | trained(6)
        | DRAW_WHOLE_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit(
        "the fraction of one label set", "miniature.yaml", "half_random: {fraction: 0.5}", "half_random: {fraction: 0.4}",
        {"corrupt_labels": 2, "evaluate": 6, "tabulate": 8} | trained(6) | {"measure_coherence": 6, "measure_contributions": 6}
        | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit(
        "another name for one optimiser, its settings kept", "miniature.yaml", "m3: {method", "median: {method",
        {"evaluate": 4, "tabulate": 8} | measured(4) | trained(4) | DRAW_ALL | CLAIMS,  # it has another colour
        besides=(("[sgd, m3, rm3]", "[sgd, median, rm3]"),),
    ),
    Edit(
        "one seed of the retraining", "miniature.yaml", "seeds: [10, 11]", "seeds: [10, 12]",
        {"corrupt_labels": 1, "evaluate": 3, "tabulate": 1} | trained(3) | DRAW_EASY_HARD | CLAIMS,
    ),
    Edit(
        "the rate of one optimiser", "miniature.yaml", "rm3, lr: 0.3", "rm3, lr: 0.2",
        {"evaluate": 4, "tabulate": 8} | measured(4) | trained(4) | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit(
        "the schedule of one optimiser's rate", "miniature.yaml", "rm3, lr: 0.3", "rm3, lr: 0.3, schedule: {kind: step, milestones: [6]}",
        {"evaluate": 4, "tabulate": 8} | measured(4) | trained(4) | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit(
        "two settings that swap their values", "miniature.yaml", "sample_size: 50\n  heldout_size: 20", "sample_size: 20\n  heldout_size: 50",
        measured(NOISE_RUNS) | {"tabulate": 4} | DRAW_COHERENCE | CLAIMS,
    ),
    Edit(
        "lr and weight decay that swap their values", "miniature.yaml", "lr: 0.3, weight_decay: 0.001", "lr: 0.001, weight_decay: 0.3",
        {"evaluate": 4, "tabulate": 8} | measured(4) | trained(4) | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit(
        "more updates, in segments of the same length", "miniature.yaml", "updates: 12", "updates: 18",
        {"train_from_12": ALL_RUNS} | OTHER_CHECKPOINTS,
    ),
    Edit("fewer updates, a segment less", "miniature.yaml", "updates: 12", "updates: 6", {"train": SUBSET_RUNS} | AFTER_TRAINING),
    Edit(
        "when runs are saved", "miniature.yaml", "per_doubling: 1", "per_doubling: 2", EVERYTHING_AFTER_TRAINING,
    ),
    Edit("when an error of an optimiser is raised", "mcoherence/optim/descent.py", '"lr", 0 < lr < math.inf', '"lr", 1e-9 < lr < math.inf', EVERYTHING_AFTER_TRAINING),
    Edit(
        "an unused line in one optimiser", "mcoherence/optim/rm3.py", "from torch import Tensor", "from torch import Tensor\n\nUNUSED = 1",
        {"evaluate": 4, "tabulate": 8} | measured(4) | trained(4) | DRAW_COHERENCE | DRAW_TRAINING | CLAIMS,
    ),
    Edit("an unused line in one network, which all runs use", "mcoherence/models/cnn.py", "from torch import nn", "from torch import nn\n\nUNUSED = 1", CHECKED | EVERYTHING_AFTER_TRAINING),
    Edit("the width of the network", "miniature.yaml", "hidden: 6", "hidden: 7", CHECKED | EVERYTHING_AFTER_TRAINING),
    Edit("the size of a mini-batch", "miniature.yaml", "batch_size: 20", "batch_size: 30", EVERYTHING_AFTER_TRAINING),
    Edit(
        "the way labels are corrupted", "mcoherence/data/corruption.py", "random_stream(seed,", "random_stream(seed + 0,",
        {"corrupt_labels": 6} | EVERYTHING_AFTER_TRAINING,
    ),
    Edit(
        "the size of the training part", "miniature.yaml", "train_size: 120", "train_size: 110",
        {"prepare_dataset": 1, "corrupt_labels": 6} | EVERYTHING_AFTER_TRAINING,
    ),
    Edit(
        "how result files are written", "mcoherence/files/hdf5.py", 'compression="gzip"', 'compression="lzf"',
        {"prepare_dataset": 1, "corrupt_labels": 6} | EVERYTHING_AFTER_TRAINING,
    ),
    Edit(
        "another name for the study", "miniature.yaml", "study: miniature", "study: renamed",
        {"prepare_dataset": 1, "corrupt_labels": 6} | CHECKED | EVERYTHING_AFTER_TRAINING,
    ),
    Edit(
        "how the digits are read", "mcoherence/data/digits.py", "np.rint", "np.round",
        {"prepare_dataset": 1, "corrupt_labels": 6} | EVERYTHING_AFTER_TRAINING,
    ),
)  # fmt: skip


def _is_source(path: Path, folder: Path) -> bool:
    return not path.is_relative_to(folder / "results") and ".snakemake" not in path.parts


@contextmanager
def applied(edit: Edit, folder: Path):
    """The edit made inside the block, and taken back after it, contents and time stamps alike."""
    if edit.file in ("", "."):
        touched = [path for path in folder.rglob("*") if path.is_file() and _is_source(path, folder)]
        stamps = {path: path.stat() for path in touched if edit.file == "."}
        for path in stamps:
            os.utime(path)
        try:
            yield
        finally:
            for path, stamp in stamps.items():
                os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        return
    path = folder / edit.file
    if path.is_dir():
        path.rename(path.with_name("kept"))
        try:
            yield
        finally:
            shutil.rmtree(path, ignore_errors=True)
            path.with_name("kept").rename(path)
        return
    text, stamp = path.read_text(), path.stat()
    kept = text
    if not edit.old:
        text += edit.new
    for old, new in ((edit.old, edit.new), *edit.besides):
        assert old in text, edit
        text = text.replace(old, new, 1) if old else text
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(kept)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def made_together() -> list[Edit]:
    """Edits that run nothing, each in a place of its own.

    A job runs where one digest or setting of its own has changed, and none of these takes back what another changes. So
    where all of them together run nothing, each alone does. What needs more than an edit of a text is apart, and so is
    how measuring is cut into jobs, which two edits are about.
    """
    edits = [edit for edit in EDITS if not edit.jobs and not edit.arguments and edit.file not in ("", ".", RECORDS)]
    return [edit for edit in edits if "examples_per_shard" not in edit.new]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("edit", [one for one in EDITS if one not in made_together()], ids=lambda edit: edit.what)
def test_an_edit_runs_exactly_what_depends_on_it(study, edit):
    if edit.file == RECORDS:  # time stamps are all that is left then, and other tests have made some files again
        study.run("--touch", "--forceall", "--cores", "1", "--quiet", "all")
    with applied(edit, study.folder):
        assert study.planned(arguments=edit.arguments) == {rule: count for rule, count in edit.jobs.items() if count}


def test_edits_that_run_nothing_do_so_together(study):
    assert len(made_together()) > 15
    with ExitStack() as edits:
        for edit in made_together():
            edits.enter_context(applied(edit, study.folder))
        together = study.planned()
    if together:
        culprits = [edit.what for edit in made_together() if planned_with(edit, study)]
        pytest.fail(f"{culprits or 'no edit alone, but all together'}: {together}")


def planned_with(edit: Edit, study) -> dict[str, int]:
    """The jobs that one edit makes run."""
    with applied(edit, study.folder):
        return study.planned()


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
