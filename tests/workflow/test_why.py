"""`make why` names what was edited: the key with both values, the module, or the file; and nothing else."""

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.apart, pytest.mark.one_in(3)]


def why(study):
    """What the script says of the study, paragraph by paragraph: the rules with their numbers of jobs -> the causes."""
    answer = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.why", "--configfile", "miniature.yaml"],
        cwd=study.folder, env=os.environ | {"PYTHONPATH": str(study.folder)}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    paragraphs = [paragraph.splitlines() for paragraph in answer.stdout.strip().split("\n\n")]
    return {rules: [line.strip() for line in lines] for rules, *lines in paragraphs}


@pytest.fixture
def edit(study):
    """Replaces text in a file of the study, and puts the file back in the end."""
    kept = {}

    def replace(name, old, new):
        path = study.folder / name
        kept.setdefault(path, (path.read_text(), path.stat()))
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    yield replace
    for path, (text, stat) in kept.items():
        path.write_text(text)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_settings_and_modules_that_were_edited_are_named(study, edit):
    edit("miniature.yaml", "rm3, lr: 0.3", "rm3, lr: 0.2")
    edit("mcoherence/figures/easy_hard.py", "import", "PADDING = 1\nimport")
    edit("mcoherence/tables/learning_time.py", "import numpy", "PADDING = 1\nimport numpy")
    edit("mcoherence/claims/power.py", "POWER = 0.8", "POWER = 0.9")
    said = why(study)
    assert said["train (4), train_from_6 (4)"] == ["optimizer.lr: 0.3 -> 0.2"]
    assert said["draw_easy_hard (1)"] == ["code edited: mcoherence.figures.easy_hard"]
    assert said["tabulate (1)"] == ["code edited: mcoherence.tables.learning_time"]
    rates = [f"rates.rm3.{network}: 0.3 -> 0.2" for network in ("cnn", "mlp")]
    assert [line for line in said["check_claims (1)"] if line in rates]  # of the networks that the study trains with it
    assert said["check_claims (1)"][-1] == "code edited: mcoherence.claims.power"
    assert said["describe_study (1)"] == ["config.optimizers.rm3.lr: 0.3 -> 0.2"]
    (followers,) = [
        rules for rules, lines in said.items() if lines == ["only because jobs above make their input again"]
    ]
    assert "evaluate (4)" in followers
    assert sum(int(number.strip("(),")) for rules in said for number in rules.split() if "(" in number) == int(
        next(iter(said)).split()[0]
    )


def test_an_optimiser_and_a_network_that_commands_import_by_name_are_named(study, edit):
    edit("mcoherence/optim/rm3.py", "from torch import Tensor", "from torch import Tensor\n\nUNUSED = 1")
    edit("mcoherence/models/cnn.py", "from torch import nn", "from torch import nn\n\nUNUSED = 1")
    said = why(study)
    assert said["train (4), train_from_6 (4)"] == ["code edited: mcoherence.models.cnn, mcoherence.optim.rm3"]
    (others,) = [rules for rules, lines in said.items() if lines == ["code edited: mcoherence.models.cnn"]]
    assert others == "evaluate (18), measure_coherence (12), measure_contributions (6), train (14), train_from_6 (14)"


def test_new_missing_and_newer_files_are_named(study, edit):
    edit("miniature.yaml", "seeds: [10, 11]", "seeds: [10, 12]")
    name = "results/miniature/figures/summary.png"
    figure = study.folder / name
    figure.rename(figure.with_suffix(".kept"))
    said = why(study)
    figure.with_suffix(".kept").rename(figure)
    assert said["corrupt_labels (1), evaluate (3), train (3), train_from_6 (3)"] == ["never made before"]
    assert said["draw_summary (1)"] == [f"missing: {name}"]
    assert said["tabulate (1)"] == ["grids.0.seeds: [10, 11] -> [10, 12]"]


def test_a_newer_input_is_named(study, edit):
    caption = "docs/captions/figures/easy_hard.rst"
    edit(caption, (study.folder / caption).read_text(), "Another text.\n")
    assert why(study)["page (1), report (1)"] == [f"newer input: {caption}"]


def test_where_the_old_code_is_not_on_record_it_says_so(study, edit):
    edit("mcoherence/claims/power.py", "POWER = 0.8", "POWER = 0.9")
    folder = study.results / "code"
    folder.rename(folder.with_name("code_kept"))
    said = why(study)
    shutil.rmtree(folder)  # what was read of files is kept there too
    folder.with_name("code_kept").rename(folder)
    assert said["check_claims (1)"] == ["code edited, or another version of it; which modules is not on record"]


def test_nothing_to_say_of_a_study_that_is_up_to_date(study):
    assert list(why(study)) == ["Nothing would run: every file is there, and nothing that it depends on has changed."]
