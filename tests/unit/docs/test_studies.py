"""What docs/studies.md tells a reader to type is valid, and its table says of every study what it is."""

import json
import re
from pathlib import Path

import pytest
import yaml

from mcoherence.audit.result_checks import result_files
from mcoherence.errors import UserError
from mcoherence.study import checks, schema_checks
from mcoherence.study import settings as study
from mcoherence.study.catalogue import all_runs, with_entries_made
from mcoherence.study.config_files import over, read_config
from mcoherence.study.experiments import label_noise
from mcoherence.study.experiments.sweep import swept_value
from mcoherence.study.runs import Run, runs_of_grids, source_run

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/studies.md").read_text()
SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())
STUDIES = {path.stem: path for path in (ROOT / "studies").glob("*.yaml")}


def on_top_of_the_defaults(text):
    return on_top_of(ROOT / "config.yaml", text)


def on_top_of(path, text):
    config = over(read_config(path), yaml.safe_load(text) or {}, entries=True)
    schema_checks.check_config(config, SCHEMA)
    config.setdefault("experiments", ["label_noise", "easy_hard"])
    config = with_entries_made(config)
    checks.check_references(config)
    return config


BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_first_example_is_a_whole_study():
    config = on_top_of_the_defaults(BLOCKS[0])
    runs = all_runs(config)
    assert {(run.dataset, run.model) for run in runs} == {("letters", "narrow"), ("letters", "wide")}


def test_further_combinations_are_those_that_the_page_says():
    runs = runs_of_grids(label_noise.grids(on_top_of_the_defaults(BLOCKS[1])))
    assert {(run.dataset, run.model, run.labels, run.seed) for run in runs} == {
        *(("small", "narrow", labels, seed) for labels in ("clean", "all_random") for seed in range(3)),
        *(("large", "wide", labels, seed) for labels in ("clean", "all_random") for seed in range(3)),
        *(("small", "narrow", "all_random", seed) for seed in (3, 4)),
    }


@pytest.mark.parametrize(("block", "runs"), [(0, 12), (1, 14)])
def test_examples_to_copy_are_as_small_as_the_page_says(block, runs):
    assert len(all_runs(on_top_of_the_defaults(BLOCKS[block]))) == runs
    assert f"These are {runs} runs" in PAGE


def test_a_length_in_a_study_is_that_of_all_networks_and_factors_stay():
    config = on_top_of_the_defaults("training: {updates: 100}")
    lengths = {o: study.training_of(config, "digits", "cnn", o)["updates"] for o in ("sgd", "sgd_slow")}
    assert lengths == {"sgd": 100, "sgd_slow": 500}


def test_single_entries_differ_as_the_page_says():
    config = on_top_of_the_defaults(BLOCKS[2])
    assert study.optimizer_settings(config, "sgd", "alexnet") == {"method": "sgd", "lr": 0.01}
    assert study.optimizer_settings(config, "sgd", "cnn") == {"method": "sgd", "lr": 0.3}
    default = read_config(ROOT / "config.yaml")
    of_cnn = study.training_of(config, "digits", "cnn", "sgd")
    assert of_cnn == study.training_of(default, "digits", "cnn", "sgd")
    assert study.training_of(config, "digits", "alexnet", "sgd")["updates"] == 2000
    assert study.training_of(config, "digits", "alexnet", "m3")["updates"] == 4000
    assert study.training_of(config, "digits", "cnn", "m3")["updates"] == 2 * of_cnn["updates"]
    other = study.training_of(config, "digits", "alexnet", "rm3")
    assert (other["updates"], other["batch_size"]) == (2000, 20)
    assert other["checkpoints"] == {"every_step_until": 4, "per_doubling": 2, "every": 100}


def test_an_adversarial_start_is_run_with_the_runs_that_it_needs():
    config = on_top_of_the_defaults(BLOCKS[3])
    runs = all_runs(config)
    for seed in (0, 1, 2):
        adversarial = Run("digits", "cnn", "clean", "sgd_after_random", "full", seed)
        assert adversarial in runs
        assert source_run(config, adversarial) in runs
    with pytest.raises(
        UserError, match=r"adversarial_start\.adversarial_optimizer: found 'sgd', which starts from fresh"
    ):
        on_top_of_the_defaults(
            BLOCKS[3].replace("adversarial_optimizer: sgd_after_random", "adversarial_optimizer: sgd")
        )


def test_a_sweep_reads_its_values_from_the_networks():
    config = on_top_of_the_defaults(BLOCKS[4] + "claims: {first_step: 8}")
    assert study.table_settings(config, "sweep")["own"]["values"] == {
        "init_scale": {"from_small": 0.3, "from_large": 3}
    }
    runs = all_runs(config)
    assert len(runs) == 2 * 2 * 2 * 3
    files = result_files(config)
    for run in runs:  # what the report is refused for where it is stale
        assert {f"{run.path('results/digits')}/{name}" for name in ("evaluation.h5", "coherence.h5")} <= files.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{from_small: {init_scale: 3}}", r"found init_scale 3 in both models\.from_small and models\.from_large"),
        ("{from_small: {init_scale: wide}}", r"models\.from_small"),
    ],
)
def test_a_sweep_over_nothing_is_refused(change, message):
    block = yaml.safe_load(BLOCKS[4])
    block["models"] = over(block["models"], yaml.safe_load(change), entries=False)
    with pytest.raises(UserError, match=message):
        on_top_of_the_defaults(yaml.safe_dump(block))


def test_a_sweep_over_what_a_network_has_not_is_refused():
    with pytest.raises(
        UserError, match=r"^sweep\.models\.width: found models\.from_small without hidden layers of one"
    ):
        on_top_of_the_defaults(BLOCKS[4].replace("models: {init_scale: [", "models: {width: ["))


def test_an_experiment_without_its_section_is_refused():
    with pytest.raises(UserError, match=r"^experiments: found sweep, expected a section sweep"):
        on_top_of_the_defaults("experiments: [sweep]")


def test_width_and_depth_are_of_the_hidden_layers():
    entry = {"hidden": [64, 64, 64], "init_scale": 0.5}
    assert [swept_value(entry, name) for name in ("width", "depth", "init_scale")] == [64, 3, 0.5]
    assert swept_value({"hidden": [64, 32]}, "width") is None
    assert swept_value({"hidden": 64}, "depth") is None


def test_the_table_lists_every_study_with_its_number_of_runs():
    rows = [row for row in PAGE.splitlines() if row.startswith("| `")]
    listed = {
        name: int(row.split("|")[3].split()[0]) for row in rows for name in re.findall(r"`studies/(\w+)\.yaml`", row)
    }
    assert listed == {name: len(all_runs(on_top_of_the_defaults(path.read_text()))) for name, path in STUDIES.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "training: {for_models: {vgg: {updates: 3}}}",
            r"^training\.for_models: found 'vgg', expected an entry of models",
        ),
        (
            "optimizers: {sgd: {method: sgd, lr: 1, for_models: {vgg: {lr: 1}}}}",
            r"^optimizers\.sgd\.for_models: found 'vgg', expected an entry",
        ),
        (
            "label_noise: {further: [{models: [vgg]}]}",
            r"^label_noise\.further\.0\.models: found 'vgg', expected an entry",
        ),
        ("training: {for_models: {mlp: {epochs: 3}}}", r"training\.for_models\.mlp: found the unknown key 'epochs'"),
        (
            "optimizers: {rm3: {method: rm3, lr: 1, for_models: {mlp: {momentum: 0.9}}}}",
            r"^optimizers\.rm3\.for_models\.mlp\.momentum: found 0\.9, expected 0",
        ),
        (
            "training: {for_optimizers: {m3: {batch_size: 2}}}",
            r"^training\.batch_size: found 2, expected at least the 3 groups",
        ),
        (
            "{experiments: [sample_size], sample_size: {datasets: [digits], models: [mlp], labels: [dirty],"
            " optimizer: sgd, seeds: [0], sizes: [9]}}",
            r"^sample_size\.labels: found 'dirty'",
        ),
    ],
)
def test_a_wrong_word_on_single_entries_is_one_line(change, message):
    with pytest.raises(UserError, match=message):
        on_top_of_the_defaults(change)


def test_ways_to_train_are_told_apart_by_what_jobs_write():
    config = on_top_of(
        ROOT / "tests/digits_study.yaml",
        "training: {for_models: {mlp: {updates: 100}}, for_optimizers: {m3: {batch_size: 30}}}",
    )
    models_of = {
        training["updates"]: {model for _, model, _ in names} for training, names in study.training_jobs(config)
    }
    # and by sgd_slow eleven times as long
    assert models_of == {840: {"cnn"}, 100: {"mlp"}, 11 * 840: {"cnn"}, 11 * 100: {"mlp"}}
