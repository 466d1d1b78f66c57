"""From a config to runs and settings, and a user's mistakes in one line."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from mcoherence import study
from mcoherence.errors import UserError

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def changed(*keys, to):
    """The default config with one value replaced, or one key removed where `to` is None."""
    config = copy.deepcopy(CONFIG)
    inner = config
    for key in keys[:-1]:
        inner = inner[key]
    if to is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = to
    return config


def test_the_default_config_is_valid():
    study.check_config(CONFIG, SCHEMA)
    study.check_references(CONFIG)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (
            ("optimizers", "rm3", "lr"),
            "fast",
            r"^config: optimizers\.rm3\.lr: found 'fast'; expected a value of type number",
        ),
        (("optimizers", "rm3", "lr"), -1, r"optimizers\.rm3\.lr: found -1; expected .*minimum of 0"),
        (
            ("optimizers", "rm3", "groups"),
            3,
            r"optimizers\.rm3: found .*'groups' was unexpected.*only the keys method, lr",
        ),
        (("optimizers", "m3", "groups"), 4, r"optimizers\.m3\.groups: found 4"),
        (
            ("optimizers", "sgd", "method"),
            "adam",
            r"optimizers\.sgd\.method: found 'adam'; expected one of sgd, m3, m3_successive, rm3, ra3, winsorized",
        ),
        (
            ("optimizers", "sgd"),
            {"method": "winsorized", "lr": 0.1},
            r"optimizers\.sgd: found 'c' is a required property",
        ),
        (
            ("optimizers", "sgd", "schedule"),
            {"kind": "step", "milestone": [3]},
            r"sgd\.schedule: found .*'milestone' was unexpected.*only the keys kind, milestones, factor, warmup",
        ),
        (
            ("optimizers", "sgd", "schedule"),
            {"kind": "linear"},
            r"schedule\.kind: found 'linear'; expected one of constant",
        ),
        (("models", "mlp", "hidden"), None, r"models\.mlp: found 'hidden' is a required property"),
        (("models", "mlp", "channels"), [3], r"models\.mlp: found .*'channels' was unexpected"),
        (
            ("models", "mlp", "architecture"),
            "resnet19",
            r"models\.mlp\.architecture: found 'resnet19'; expected one of 82 names, such as resnet18, resnet",
        ),
        (
            ("models", "mlp"),
            {"architecture": "resnet18", "dropout": 0.1},
            r"models\.mlp: found .*'dropout' was unexpected.*only the keys architecture, stem, init_scale",
        ),
        (("models", "mlp", "init_scale"), 0, r"models\.mlp\.init_scale: found 0"),
        (("labels", "clean", "fraction"), 1.2, r"labels\.clean\.fraction: found 1\.2"),
        (("trainning",), {}, r"the config: found .*'trainning' was unexpected"),
        (("study",), None, r"'study' is a required property"),
        (("label_noise", "seeds"), [1, 1], r"label_noise\.seeds: found \[1, 1\]"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_key(keys, value, message):
    with pytest.raises(UserError, match=message) as caught:
        study.check_config(changed(*keys, to=value), SCHEMA)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (
            ("label_noise", "optimizers"),
            ["sgd", "adam"],
            r"label_noise\.optimizers: found 'adam', expected an entry of optimizers \(sgd, m3, rm3\)",
        ),
        (("easy_hard", "labels"), "dirty", r"easy_hard\.labels: found 'dirty'"),
        (("easy_hard", "seeds"), [2, 10], r"easy_hard\.seeds: found \[2\].*fresh weights"),
        (
            ("training", "batch_size"),
            2,
            r"training\.batch_size: found 2, expected at least the 3 groups of optimizers\.m3",
        ),
        (
            ("optimizers", "rm3", "momentum"),
            0.9,
            r"optimizers\.rm3\.momentum: found 0\.9, expected 0: .*unstable.*allow_momentum: true",
        ),
        (
            ("optimizers", "sgd", "nesterov"),
            True,
            r"optimizers\.sgd\.nesterov: found true, expected false, since momentum is 0",
        ),
        (
            ("training", "checkpoints"),
            {"every_step_until": 8, "count": 9},
            r"training\.checkpoints\.count: found 9, expected more than the 9",
        ),
    ],
)
def test_names_and_sizes_must_fit_together(keys, value, message):
    with pytest.raises(UserError, match=message):
        study.check_references(changed(*keys, to=value))


@pytest.mark.parametrize(
    "optimizer",
    [
        {"method": "rm3", "lr": 0.1, "momentum": 0.9, "allow_momentum": True},
        {"method": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4},
        {"method": "m3_successive", "lr": 0.1, "groups": 5, "schedule": {"kind": "cosine", "updates": 9}},
        {"method": "winsorized", "lr": 0.1, "c": 2, "schedule": {"kind": "constant"}},
        {"method": "ra3", "lr": 0.1, "start": {"labels": "all_random", "optimizer": "sgd"}},
        {
            "method": "sgd",
            "lr": 1.6,
            "schedule": {"kind": "step", "milestones": [30, 60], "warmup": {"updates": 5, "start": 0.1}},
        },
    ],
    ids=lambda optimizer: optimizer["method"],
)
def test_settings_of_every_optimiser(optimizer):
    config = changed("optimizers", "further", to=optimizer)
    study.check_config(config, SCHEMA)
    study.check_references(config)


def test_a_data_set_cannot_give_more_than_it_has():
    with pytest.raises(UserError, match=r"datasets\.digits\.train_size: found 1790"):
        study.check_config(changed("datasets", "digits", "train_size", to=1790), SCHEMA)


def test_the_default_study_asks_for_every_combination_once():
    runs = study.all_runs(CONFIG)
    assert len(runs) == len(set(runs)) == 2 * 3 * 3 * 3 + 3 * 3
    assert sum(run.subset == "full" for run in runs) == 54


def test_reference_runs_outside_the_label_noise_experiment_are_added():
    config = changed("easy_hard", "reference_seeds", to=[0, 7])
    assert study.Run("digits", "cnn", "clean", "sgd", "full", 7) in study.all_runs(config)
    assert len(study.all_runs(config)) == 54 + 1 + 9


def test_a_run_is_found_by_its_path():
    run = study.Run("digits", "cnn", "half_random", "rm3", "full", 2)
    assert run.path("results/digits") == "results/digits/runs/digits/cnn/half_random/rm3/full/seed2"
    assert run.labels_path("results/digits") == "results/digits/data/digits/labels/half_random/seed2/labels.h5"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((100, 2, 5), [0, 1, 2, 14, 100]),  # ratio sqrt(50) = 7.07
        ((3, 8, 20), [0, 1, 2, 3]),
        ((1000, 0, 4), [0, 10, 100, 1000]),
    ],
)
def test_checkpoints_are_dense_then_log_spaced(arguments, expected):
    assert study.checkpoint_steps(*arguments) == expected


def test_training_settings_hold_what_the_run_depends_on_and_nothing_else():
    run = study.Run("digits", "mlp", "clean", "rm3", "full", 1)
    settings = study.training_settings(CONFIG, run)
    assert settings["optimizer"] == CONFIG["optimizers"]["rm3"]
    for keys, value in (
        (("optimizers", "sgd", "lr"), 9.0),
        (("measurement", "sample_size"), 10),
        (("label_noise", "seeds"), [1, 5]),
        (("figures", "optimizer_colors", "rm3"), "#000000"),
    ):
        assert study.training_settings(changed(*keys, to=value), run) == settings
    assert study.training_settings(changed("optimizers", "rm3", "lr", to=9.0), run) != settings


def test_every_key_of_the_schema_is_described():
    undescribed = []

    def visit(schema, path):
        for name, inner in schema.get("properties", {}).items():
            leaf = "properties" not in inner and "const" not in inner and "additionalProperties" not in inner
            if leaf and "description" not in inner and "$ref" not in inner:
                undescribed.append(f"{path}.{name}")
            visit(inner, f"{path}.{name}")
        if isinstance(schema.get("additionalProperties"), dict):
            visit(schema["additionalProperties"], f"{path}.*")

    visit(SCHEMA, "")
    for name, definition in SCHEMA["$defs"].items():
        visit(definition, name)
    assert not undescribed
