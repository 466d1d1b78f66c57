"""A wrong config gives one clear line that names the key, without a traceback, and nothing runs."""

import pytest

pytestmark = pytest.mark.apart
CASES = [
    ("lr: 0.3}", "lr: fast}", "config: optimizers.sgd.lr: found 'fast'; expected a value of type number"),
    ("seeds: [0, 1, 2, 3, 4]", "seed: [0, 1, 2, 3, 4]", "config: label_noise: found"),
    (
        "optimizers: [sgd, m3, rm3]",
        "optimizers: [sgd, adam]",
        "label_noise.optimizers: found 'adam', expected an entry of optimizers",
    ),
    ("lr: 0.3}", "lr: .nan}", "error: config: optimizers.sgd.lr: found nan; expected a finite number"),
    ("updates: 840", "updates: 0840", "config.yaml, line 24: training.updates: found 0840, which YAML takes for octal"),
]


@pytest.mark.parametrize(("old", "new", "message"), CASES, ids=[case[2] for case in CASES])
def test_a_wrong_config_is_one_line(workflow_copy, old, new, message):
    config = workflow_copy.folder / "config.yaml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new, 1))
    is_refused(workflow_copy, "study: miniature\n", message)


def is_refused(workflow, own, message):
    """Whether a study of this own file is refused with this message, in one line, and nothing is made."""
    (workflow.folder / "miniature.yaml").write_text(own)
    answer = workflow.run("--dry-run", "--quiet", "all")
    assert answer.returncode == 1
    assert [line for line in answer.stdout.splitlines() if message in line], answer.stdout
    assert "Traceback" not in answer.stdout
    assert not (workflow.folder / "results").exists()


OWN = [
    ("device: cpu\n", "error: config: miniature.yaml: found no study, expected a name of its own"),
    ("study: a\nstudy: b\n", "error: config: miniature.yaml, line 2: study: found the key twice, in lines 1 and 2"),
]


@pytest.mark.parametrize(("own", "message"), OWN, ids=[message for _, message in OWN])
def test_so_is_a_wrong_file_of_a_study(workflow_copy, own, message):
    is_refused(workflow_copy, own, message)


def test_single_values_come_on_top_of_the_files(workflow_copy):
    answer = workflow_copy.run("--config", "study=single", "data_folder=elsewhere", "--summary")
    assert answer.returncode == 0, answer.stdout
    assert "results/single/data/digits/images.h5" in answer.stdout
