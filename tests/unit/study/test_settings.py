"""From a config to runs and settings, and a user's mistakes in one line."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mcoherence.audit.result_checks import result_files
from mcoherence.claims.registry import claims_of
from mcoherence.errors import UserError
from mcoherence.files.canonical import canonical_json
from mcoherence.study import checks, schema_checks
from mcoherence.study import settings as study
from mcoherence.study.catalogue import TABLES, all_runs, figures_of, results_of
from mcoherence.study.config_files import study_config
from mcoherence.study.coverage import what_intervals_cover
from mcoherence.study.experiments.bound import bound_settings
from mcoherence.study.experiments.label_noise import winsorization
from mcoherence.study.results import result
from mcoherence.study.runs import Run, runs_of_grids, source_run
from mcoherence.study.segments import segments

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())
CONFIG = yaml.safe_load((ROOT / "tests/digits_study.yaml").read_text())


def changed(*keys, to):
    """The config of the tests with one value replaced, or one key removed where `to` is None."""
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
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    schema_checks.check_config(config, SCHEMA)
    checks.check_references(config)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (
            ("optimizers", "rm3", "lr"),
            "fast",
            r"^config: optimizers\.rm3\.lr: found 'fast'; expected a number",
        ),
        (("training", "updates"), 12.0, r"^config: training\.updates: found 12\.0; expected a whole number"),
        (
            ("label_noise", "seeds"),
            [0.0, 1],
            r"^config: label_noise\.seeds\.0: found 0\.0; expected a whole number, without a point",
        ),
        (("optimizers", "rm3", "lr"), -1, r"optimizers\.rm3\.lr: found -1; expected more than 0;"),
        (
            ("optimizers", "rm3", "groups"),
            3,
            r"optimizers\.rm3: found the unknown key 'groups'; expected only the keys method, lr",
        ),
        (("optimizers", "m3", "groups"), 4, r"optimizers\.m3\.groups: found 4"),
        (
            ("optimizers", "sgd", "method"),
            "lion",
            r"optimizers\.sgd\.method: found 'lion'; expected one of sgd, m3, m3_successive, rm3, .*adamw",
        ),
        (
            ("optimizers", "sgd"),
            {"method": "winsorized", "lr": 0.1},
            r"optimizers\.sgd: found no key c of an entry",
        ),
        (
            ("optimizers", "sgd", "schedule"),
            {"kind": "step", "milestone": [3]},
            r"sgd\.schedule: found the unknown key 'milestone' \(did you mean milestones\?\); expected only the keys",
        ),
        (
            ("optimizers", "sgd", "schedule"),
            {"kind": "linear"},
            r"schedule\.kind: found 'linear'; expected one of constant",
        ),
        (("models", "mlp", "hidden"), None, r"models\.mlp: found no key hidden"),
        (("models", "mlp", "channels"), [3], r"models\.mlp: found the unknown key 'channels'"),
        (
            ("models", "mlp", "architecture"),
            "resnet19",
            r"models\.mlp\.architecture: found 'resnet19'; expected one of 84 names, such as resnet18, resnet",
        ),
        (
            ("models", "mlp"),
            {"architecture": "resnet18", "dropout": 0.1},
            r"models\.mlp: found the unknown key 'dropout'; expected only the keys architecture, stem, init_scale",
        ),
        (("models", "mlp", "init_scale"), 0, r"models\.mlp\.init_scale: found 0"),
        (("labels", "clean", "fraction"), 1.2, r"labels\.clean\.fraction: found 1\.2"),
        (("trainning",), {}, r"^config: the config: found the unknown key 'trainning' \(did you mean training\?\)"),
        (("study",), None, r"^config: the config: found no key study"),
        (("label_noise", "seeds"), [1, 1], r"label_noise\.seeds: found \[1, 1\]"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_key(keys, value, message):
    with pytest.raises(UserError, match=message) as caught:
        schema_checks.check_config(changed(*keys, to=value), SCHEMA)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (
            ("label_noise", "optimizers"),
            ["sgd", "adam"],
            r"label_noise\.optimizers: found 'adam', expected an entry of optimizers \(sgd, sgd_slow, m3, rm3\)",
        ),
        (
            ("label_noise", "optimizers"),
            ["sdg"],
            r"label_noise\.optimizers: found 'sdg' \(did you mean sgd\?\), expected an entry of optimizers",
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
    ],
)
def test_names_and_sizes_must_fit_together(keys, value, message):
    with pytest.raises(UserError, match=message):
        checks.check_references(changed(*keys, to=value))


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"workers": "2 $(touch pwned)"}, r"training_resources\.workers: found .*; set operational's own key workers"),
        ({"device": "cpu; touch x; #"}, r"training_resources\.device: found .*; set the config's own key device"),
        (
            {"slurm_extra": "--qos=a; touch pwned"},
            r"slurm_extra: found '--qos=a; touch pwned', expected a number or plain",
        ),
        ({"slurm_account": "$(id)"}, r"slurm_account: found '\$\(id\)', expected a number or plain words"),
        ({"constraint": "a100\n"}, r"constraint: found 'a100\\n', expected a number or plain words"),
        ({"constraint": ""}, r"constraint: found '', expected a number or plain words"),
        ({"a b": 1}, r"training_resources: found the name 'a b'"),
        (
            {"mem": "16GB"},
            r"training_resources\.mem: found '16GB', expected no such resource; set mem_mb, in megabytes",
        ),
        ({"runtime": "soon"}, r"training_resources\.runtime: found 'soon', expected minutes, such as 240"),
    ],
)
def test_resources_of_training_are_neither_keys_of_their_own_nor_commands(resources, message):
    config = changed("operational", to={"training_resources": resources})
    schema_checks.check_config(config, SCHEMA)
    with pytest.raises(UserError, match=message) as caught:
        checks.check_references(config)
    assert "\n" not in str(caught.value)


def test_resources_that_clusters_ask_for_pass():
    plain = {"slurm_partition": "gpu", "gpu": 2, "mem_mb": 64000, "runtime": "2d", "constraint": "a100"}
    plain |= {"slurm_extra": "--gres=gpu:a100:1 --qos=high,low --mail-user=me@example.org"}
    checks.check_references(changed("operational", to={"training_resources": plain}))


def test_every_operational_key_is_known_to_be_no_resource_of_the_users():
    keys = set(SCHEMA["properties"]["operational"]["properties"]) - {"training_resources"}
    assert {"device", *keys} == set(checks.OWN_KEYS)


@pytest.mark.parametrize(
    "optimizer",
    [
        {"method": "rm3", "lr": 0.1, "momentum": 0.9, "allow_momentum": True},
        {"method": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4},
        {"method": "m3_successive", "lr": 0.1, "groups": 5, "schedule": {"kind": "cosine", "updates": 9}},
        {"method": "winsorized", "lr": 0.1, "c": 2, "schedule": {"kind": "constant"}},
        {"method": "ra3", "lr": 0.1, "start": {"labels": "all_random", "optimizer": "sgd"}},
        {"method": "gradient_agreement", "lr": 0.1, "groups": 3, "threshold": 0.9, "momentum": 0.9},
        {"method": "adam", "lr": 0.001, "betas": [0.9, 0.99], "for_models": {"mlp": {"lr": 0.01}}},
        {"method": "adamw", "lr": 0.001, "eps": 1e-6, "weight_decay": 0.1},
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
    schema_checks.check_config(config, SCHEMA)
    checks.check_references(config)


def test_a_data_set_cannot_give_more_than_it_has():
    with pytest.raises(UserError, match=r"datasets\.digits\.train_size: found 1790"):
        schema_checks.check_config(changed("datasets", "digits", "train_size", to=1790), SCHEMA)


def test_the_claims_know_how_large_the_images_of_the_study_are():
    """The data sets of the label-noise runs alone: those of the file below stay in the config of any other study."""
    datasets = {**CONFIG["datasets"], "letters": {"source": "glyphs", "train_size": 900, "test_size": 90, "size": 64}}
    config = {**CONFIG, "datasets": datasets, "label_noise": {**CONFIG["label_noise"], "datasets": ["letters"]}}
    assert study.claim_settings(CONFIG)["image_sides"] == {"digits": 8}
    assert study.claim_settings(config)["image_sides"] == {"letters": 64}


def test_the_claims_know_which_experiment_makes_each_table_that_they_read():
    tables = {name for one in claims_of("mcoherence.claims") for name in one.tables}
    assert tables <= study.claim_settings(CONFIG)["experiments"].keys()


def test_a_study_asks_for_every_combination_once():
    runs = all_runs(CONFIG)
    assert len(runs) == len(set(runs)) == 2 * 3 * 4 * 5 + 3 * 5
    assert sum(run.subset == "full" for run in runs) == 120


def test_reference_runs_outside_the_label_noise_experiment_are_added():
    config = changed("easy_hard", "reference_seeds", to=[0, 7])
    assert Run("digits", "cnn", "clean", "sgd", "full", 7) in all_runs(config)
    assert len(all_runs(config)) == 120 + 1 + 15


def test_a_run_is_found_by_its_path():
    run = Run("digits", "cnn", "half_random", "rm3", "full", 2)
    assert run.path("results/digits") == "results/digits/runs/digits/cnn/half_random/rm3/full/seed2"
    assert run.file("results/digits", "labels") == "results/digits/data/digits/labels/half_random/seed2/labels.h5"


def test_grids_are_combinations_each_run_once_at_its_first_place():
    grid = {"datasets": ["d"], "models": ["net"], "labels": ["clean"], "optimizers": ["sgd", "m3"], "subsets": ["full"]}
    runs = runs_of_grids([grid | {"seeds": [0, 1]}, grid | {"seeds": [1, 2]}])
    assert [(run.optimizer, run.seed) for run in runs] == [
        ("sgd", 0), ("sgd", 1), ("m3", 0), ("m3", 1), ("sgd", 2), ("m3", 2),
    ]  # fmt: skip


def test_a_tables_grids_are_the_runs_of_its_experiment_in_their_order():
    config = CONFIG | {"experiments": ["label_noise", "easy_hard", "difficulty_coherence"]}
    config |= {"label_noise": CONFIG["label_noise"] | {"further": [{"models": ["cnn"], "seeds": [7]}]}}
    runs = {name: runs_of_grids(study.table_settings(config, name)["grids"]) for name in ("accuracy", "easy_hard")}
    assert len(runs["accuracy"]) == 120 + 12  # three label sets, four optimisers
    assert runs["accuracy"][-1] == Run("digits", "cnn", "all_random", "rm3", "full", 7)
    assert [run.subset for run in runs["easy_hard"]] == ["easy"] * 5 + ["hard"] * 5 + ["random"] * 5
    along = runs_of_grids(study.table_settings(config, "difficulty_coherence")["grids"])
    assert along[:5] == [Run("digits", "cnn", "clean", "sgd", "full", seed) for seed in range(5)]
    assert along[5:] == runs["easy_hard"]


def test_the_noise_of_a_table_is_that_of_its_label_sets():
    assert study.table_settings(CONFIG, "accuracy")["noise"] == {
        name: CONFIG["labels"][name]["fraction"] for name in CONFIG["label_noise"]["labels"]
    }
    assert study.table_settings(CONFIG, "difficulty")["noise"].keys() == {CONFIG["easy_hard"]["labels"]}


TRAINING = {"batch_size": 60, "checkpoints": {"every_step_until": 2, "per_doubling": 1}}


def test_more_updates_leave_the_settings_of_whole_segments_as_they_are():
    run = Run("digits", "mlp", "clean", "sgd", "full", 0)
    short, long = (CONFIG | {"training": TRAINING | {"updates": n, "segment_updates": 40}} for n in (100, 200))
    of = {
        name: [study.training_settings(config, run, *segment) for segment in segments(config["training"])]
        for name, config in (("short", short), ("long", long))
    }
    assert of["short"][:2] == of["long"][:2]
    assert (of["short"][2]["stop"], of["long"][2]["stop"]) == (100, 120)


def with_starts(**starts):
    """The default config with an optimiser for each name, that starts where (labels, optimizer) ended."""
    entries = {
        name: {"method": "sgd", "lr": 0.1, "start": {"labels": labels, "optimizer": optimizer}}
        for name, (labels, optimizer) in starts.items()
    }
    return CONFIG | {"optimizers": CONFIG["optimizers"] | entries}


def test_a_run_can_start_from_the_end_of_another_which_is_then_run_too():
    config = with_starts(after_noise=("all_random", "rm3"), twice=("clean", "after_noise"))
    config = config | {"label_noise": CONFIG["label_noise"] | {"labels": ["clean"], "optimizers": ["twice"]}}
    checks.check_references(config)
    run = Run("digits", "mlp", "clean", "twice", "full", 2)
    source = Run("digits", "mlp", "clean", "after_noise", "full", 2)
    assert source_run(config, run) == source
    assert source_run(config, source) == Run("digits", "mlp", "all_random", "rm3", "full", 2)
    assert source_run(CONFIG, Run("digits", "mlp", "clean", "sgd", "full", 0)) is None
    assert {run, source, Run("digits", "mlp", "all_random", "rm3", "full", 2)} <= set(all_runs(config))


def test_a_second_stage_goes_on_from_the_run_on_the_other_half():
    config = CONFIG | {"experiments": ["easy_hard", "second_split"]}
    checks.check_references(config)
    second = Run("digits", "cnn", "clean", "sgd", "half_b_after_a", 1)
    first = Run("digits", "cnn", "clean", "sgd", "half_a", 1)
    assert source_run(config, second) == first
    assert source_run(config, first) is None
    runs = all_runs(config)
    assert {first, second} <= set(runs)
    # per reference seed both halves and both second stages, beside the reference run itself; five times three subsets
    assert len(runs) == 5 * (1 + 4) + 15
    # the optimiser's own start holds for the first stage; the second goes on from there with the same optimiser
    started = with_starts(after_noise=("all_random", "sgd"))
    late = Run("digits", "cnn", "clean", "after_noise", "half_a_after_b", 1)
    early = source_run(started, late)
    assert early == Run("digits", "cnn", "clean", "after_noise", "half_b", 1)
    assert source_run(started, early) == Run("digits", "cnn", "all_random", "sgd", "half_b", 1)


@pytest.mark.parametrize("name", ["second_split", "difficulty_coherence"])
def test_experiments_on_the_runs_of_easy_hard_ask_for_it(name):
    with pytest.raises(UserError, match=rf"^experiments: found {name} without easy_hard.*add easy_hard$"):
        checks.check_references(CONFIG | {"experiments": ["label_noise", name]})


def test_gradients_of_easy_and_hard_examples_are_measured_along_all_runs_of_the_experiment():
    runs = runs_of_grids(TABLES["difficulty_coherence"].runs(CONFIG))
    assert sorted((run.subset, run.seed) for run in runs) == sorted(
        [("full", seed) for seed in range(5)]
        + [(subset, seed) for subset in ("easy", "hard", "random") for seed in range(10, 15)]
    )


def test_a_seed_of_the_labels_makes_one_corruption_for_all_runs():
    labels = CONFIG["labels"] | {"same": {"fraction": 0.2, "seed": 5}}
    config = CONFIG | {"labels": labels}
    schema_checks.check_config(config, SCHEMA)
    assert study.corruption_settings(config, "same", 3) == {"fraction": 0.2, "seed": 5}
    assert study.corruption_settings(config, "half_random", 3) == {"fraction": 0.5, "seed": 3}


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [("difficulty_agreement", "fraction", 0.4), ("difficulty_coherence", "seeds", [20]), ("easy_hard", "seeds", [20])],
)
def test_a_table_depends_on_what_it_reads_of_its_experiment(table, key, value):
    other = changed("easy_hard", key, to=value)
    for name in ("difficulty", "difficulty_agreement", "difficulty_coherence", "easy_hard"):
        depends = study.table_settings(other, name) != study.table_settings(CONFIG, name)
        assert depends == (name == table or (key == "seeds" and name in ("easy_hard", "difficulty_coherence")))


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ({"a": ("dirty", "sgd")}, r"^optimizers\.a\.start\.labels: found 'dirty', expected an entry of labels"),
        ({"a": ("clean", "adam")}, r"^optimizers\.a\.start\.optimizer: found 'adam', expected an entry of optimizers"),
        ({"a": ("clean", "a")}, r"^optimizers\.a\.start: found a circle \(a from a\), expected a chain that ends"),
        ({"a": ("clean", "b"), "b": ("half_random", "a")}, r"found a circle \(a from b from a\)"),
    ],
)
def test_a_start_must_lead_to_fresh_weights(starts, message):
    with pytest.raises(UserError, match=message):
        checks.check_references(with_starts(**starts))


def test_training_settings_hold_what_the_run_depends_on_and_nothing_else():
    run = Run("digits", "mlp", "clean", "rm3", "full", 1)
    settings = study.training_settings(CONFIG, run, 0, 840)
    assert settings["optimizer"] == CONFIG["optimizers"]["rm3"]
    assert (settings["mini_batches"], settings["groups"]) == (1, 1)
    for keys, value in (
        (("optimizers", "sgd", "lr"), 9.0),
        (("measurement", "sample_size"), 10),
        (("label_noise", "seeds"), [1, 5]),
        (("figures", "optimizer_colors", "rm3"), "#000000"),
        (("training", "updates"), 2000),
        (("operational",), {"ranks": 4}),
    ):
        assert study.training_settings(changed(*keys, to=value), run, 0, 840) == settings
    assert study.training_settings(changed("optimizers", "rm3", "lr", to=9.0), run, 0, 840) != settings


def test_training_settings_hold_what_the_method_decides_of_an_update():
    entries = {"m3": {"method": "m3", "lr": 1, "groups": 5}, "m3s": {"method": "m3_successive", "lr": 1, "groups": 7}}
    config = CONFIG | {"optimizers": entries}
    updates = [
        study.training_settings(config, Run("digits", "mlp", "clean", name, "full", 0), 0, 9) for name in ("m3", "m3s")
    ]
    assert [(update["mini_batches"], update["groups"]) for update in updates] == [(1, 5), (7, 1)]


def test_the_claims_know_which_optimisers_are_said_not_to_memorise():
    assert study.claim_settings(CONFIG)["robust"] == ["m3", "rm3"]
    assert study.claim_settings(CONFIG)["suppressing"] == ["m3", "rm3"]


def test_several_ranks_are_refused_where_a_run_needs_one():
    config = changed("operational", to={"ranks": 2})
    config = config | {"optimizers": config["optimizers"] | {"clipped": {"method": "winsorized", "lr": 0.1, "c": 2}}}
    checks.check_references(config)  # no run uses it
    config = config | {"label_noise": config["label_noise"] | {"optimizers": ["sgd", "clipped"]}}
    with pytest.raises(
        UserError, match=r"^operational\.ranks: found 2, expected 1 for optimizers\.clipped, which needs"
    ):
        checks.check_references(config)


def test_adam_has_no_momentum_not_even_for_one_network():
    entry = {"method": "adam", "lr": 0.1, "for_models": {"mlp": {"momentum": 0}}}
    with pytest.raises(
        UserError, match=r"^optimizers\.adam\.for_models\.mlp\.momentum: found 0, expected none: adam has"
    ):
        checks.check_references(changed("optimizers", "adam", to=entry))


def test_a_mini_batch_has_an_example_for_every_group():
    entry = {"method": "gradient_agreement", "lr": 0.1, "groups": 61}
    with pytest.raises(UserError, match=r"^training\.batch_size: found 60, expected at least the 61 groups of"):
        checks.check_references(trained_with(entry))


def test_what_an_entry_that_no_run_refers_to_does_not_fit_together_with_counts_for_nothing():
    config = changed("label_noise", "optimizers", to=["sgd", "rm3"])
    config["training"]["batch_size"] = 1
    assert "m3" in config["optimizers"]  # whose three groups want three examples
    config["models"]["gone"] = {"architecture": "nowhere_to_be_found:net"}
    checks.check_references(config)


def trained_with(optimizer):
    """The study of the tests with one more optimiser, which its label noise trains with."""
    config = changed("optimizers", "further", to=optimizer)
    config["label_noise"]["optimizers"] = ["sgd", "further"]
    return config


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("training", "batch_size"), 721, r"^training\.batch_size: found 721, expected at most the 720 examples"),
        (
            ("training", "batch_size"),
            289,  # half of 720, a fifth of it for testing
            r"^training\.batch_size: found 289, expected at most the 288 examples of datasets\.digits in the part easy",
        ),
        (
            ("training", "for_models"),
            {"mlp": {"batch_size": 5000}},
            r"^training\.for_models\.mlp\.batch_size: found 5000, expected at most the 720 examples",
        ),
        (("easy_hard", "fraction"), 1e-9, r"^easy_hard\.fraction: found 1e-09, which makes parts of 0 examples"),
        (
            ("easy_hard", "test_fraction"),
            1e-9,
            r"^easy_hard\.test_fraction: found 1e-09, which makes parts of 360 examples to train on and 0 for testing",
        ),
        (("easy_hard", "test_fraction"), 1 - 1e-9, r"^easy_hard\.test_fraction: .* of 0 examples to train on and 360"),
        (
            ("measurement", "sample_size"),
            721,
            r"^measurement\.sample_size: found 721, expected at most the 720 training",
        ),
        (
            ("measurement", "heldout_size"),
            1078,
            r"^measurement\.heldout_size: found 1078, expected at most the 1077 test",
        ),
    ],
)
def test_what_is_drawn_from_a_data_set_must_be_there(keys, value, message):
    with pytest.raises(UserError, match=message) as caught:
        checks.check_references(changed(*keys, to=value))
    assert "\n" not in str(caught.value)


def test_a_transition_has_a_row_for_every_class():
    entry = {"fraction": 0.5, "scheme": "class_conditional", "transition": [[0.5, 0.5], [0.5, 0.5]]}
    config = changed("labels", "half_random", to=entry)
    with pytest.raises(
        UserError, match=r"^labels\.half_random\.transition: found 2 rows, expected 10, one for each class"
    ):
        checks.check_references(config)


def test_the_default_sample_sizes_forbid_no_study_a_smaller_data_set():
    config = changed("datasets", "digits", "train_size", to=300)
    config["training"]["batch_size"] = 20
    checks.check_references(config, own={"datasets": config["datasets"]})
    with pytest.raises(UserError, match=r"^measurement\.sample_size: found 360, expected at most the 300 training"):
        checks.check_references(config)


def test_samples_of_other_sizes_must_be_there_too():
    section = {"datasets": ["digits"], "models": ["mlp"], "labels": ["clean"], "optimizer": "sgd", "seeds": [0]}
    config = changed("sample_size", to={**section, "sizes": [100, 400]}) | {"experiments": ["sample_size"]}
    with pytest.raises(
        UserError, match=r"^sample_size\.sizes: found 400, expected at most 360, the 720 training .* less"
    ):
        checks.check_references(config)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"updates": 10**9, "segment_updates": 1}, r"^training\.segment_updates: found 1 of 1000000000 updates"),
        (
            {"updates": 10**9, "checkpoints": {"every": 1}},
            r"^training\.checkpoints: found {'every': 1} with 1000000000 updates, .*expected at most 10000",
        ),
        ({"updates": 10**9, "checkpoints": {"per_doubling": 1000}}, r"^training\.checkpoints: .*up to 29\d\d\d check"),
    ],
)
def test_a_run_has_a_number_of_jobs_and_checkpoints_that_can_be_planned(training, message):
    config = changed("training", to={**CONFIG["training"], "for_optimizers": {}, **training})
    with pytest.raises(UserError, match=message):
        checks.check_references(config)
    config["training"]["updates"] = 840
    checks.check_references(config)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (
            ("optimizers", "sgd", "lr"),
            float("nan"),
            r"^config: optimizers\.sgd\.lr: found nan; expected a finite number, such as 0\.1;",
        ),
        (
            ("claims", "confidence"),
            float("inf"),
            r"^config: claims\.confidence: found inf; expected a finite number, such as 0\.95;",
        ),
        (
            ("labels", "x"),
            {"fraction": 0.5, "scheme": "class_conditional", "transition": [[1.0, float("nan")]]},
            r"^config: labels\.x\.transition\.0\.1: found nan; expected a finite number;",
        ),
        (("training", "updates"), 0, r"training\.updates: found 0; expected at least 1;"),
        (("training", "updates"), 10**18, r"training\.updates: found 10{18}; expected at most 1000000000;"),
        (("training", "checkpoints", "per_doubling"), 10**9, r"per_doubling: found 10{9}; expected at most 1000;"),
        (
            ("label_noise", "seeds"),
            [2**63],
            r"label_noise\.seeds\.0: found 9223372036854775808; expected at most \d{19};",
        ),
        (("label_noise", "seeds"), [1, 1], r"label_noise\.seeds: found \[1, 1\]; expected every value once;"),
        (("label_noise", "seeds"), [], r"label_noise\.seeds: found \[\]; expected at least 1 value;"),
        (
            ("label_noise", "further"),
            [{"seeds": []}],
            r"label_noise\.further\.0\.seeds: found \[\]; expected at least 1",
        ),
        (
            ("datasets", "digits", "seed"),
            2**32,
            r"datasets\.digits\.seed: found 4294967296; expected at most 4294967295;",
        ),
        (("optimizers", "m3", "groups"), 4, r"optimizers\.m3\.groups: found 4; expected an odd number;"),
        (("study",), "a\n", r"study: found 'a\\n'; expected a name of 1 to 64 letters, digits and _;"),
        (("study",), 2024, r"study: found 2024; expected text, in quotes where it looks like a number;"),
        (("easy_hard", "within_class"), "no", r"easy_hard\.within_class: found 'no'; expected true or false;"),
        (("label_noise",), [], r"label_noise: found \[\]; expected keys with values;"),
        (("label_noise", "models"), "mlp", r"label_noise\.models: found 'mlp'; expected a list;"),
        (
            ("datasets", "x"),
            {"source": "mnist", "train_size": "all"},
            r"found 'all'; expected a whole number, without a point or null;",
        ),
        (("study",), "a" * 65, r"study: found 'a+'; expected a name of 1 to 64 letters"),
        (("study",), "a" * 3000, r"study: found 'a{199} \.\.\.; expected a name"),
        (
            ("measurement", "heldout_size"),
            "many",
            r"heldout_size: found 'many'; expected a whole number, .*, such as 240;",
        ),
        (
            ("experiments",),
            ["labelnoise"],
            r"experiments\.0: found 'labelnoise'; expected .*did you mean label_noise\?",
        ),
        (
            ("optimizers", "sgd"),
            {"lr": 1},
            r"sgd: found no key method of an entry, which takes the place",
        ),
    ],
)
def test_refusals_say_what_is_expected_in_a_persons_words(keys, value, message):
    with pytest.raises(UserError, match=message) as caught:
        schema_checks.check_config(changed(*keys, to=value), SCHEMA)
    assert "\n" not in str(caught.value)


def test_combinations_further_on_are_checked_as_the_first_ones():
    config = changed("label_noise", "further", to=[{"labels": ["dirty"]}])
    with pytest.raises(
        UserError, match=r"^label_noise\.further\.0\.labels: found 'dirty', expected an entry of labels"
    ):
        checks.check_references(config)


def test_the_bound_needs_the_runs_of_label_noise():
    with pytest.raises(UserError, match=r"^experiments: found bound without label_noise, expected both"):
        checks.check_references(changed("experiments", to=["toy", "bound"]))
    checks.check_references(changed("experiments", to=["label_noise", "bound"]))


def test_the_bound_is_of_plain_sgd_only():
    entries = {
        "plain": {"method": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 0, "schedule": {"kind": "constant"}},
        "heavy": {"method": "sgd", "lr": 0.1, "momentum": 0.9},
        "decayed": {"method": "sgd", "lr": 0.1, "weight_decay": 1e-4},
        "moved": {"method": "sgd", "lr": 0.1, "start": {"labels": "clean", "optimizer": "plain"}},
        "median": {"method": "rm3", "lr": 0.1},
    }
    config = changed("optimizers", to=entries) | {"bound": {"beta_times_lr": [1]}}
    config = config | {"label_noise": CONFIG["label_noise"] | {"optimizers": list(entries)}}
    assert study.table_settings(config, "bound")["own"] == {
        "beta_times_lr": [1],
        "optimizers": {"plain": {"lr": 0.1, "schedule": {"kind": "constant"}}},
    }


def test_the_toy_descends_to_its_last_step():
    toy = {"lr": 0.1, "steps": 9, "checkpoints": {"every_step_until": 2, "per_doubling": 1}}
    assert study.table_settings(CONFIG | {"toy": toy}, "toy")["own"] == {
        "lr": 0.1,
        "checkpoint_steps": [0, 1, 2, 4, 8, 9],
    }
    for lr in (0, 1.6):
        with pytest.raises(UserError, match=r"^config: toy\.lr: found"):
            schema_checks.check_config(changed("toy", to={"lr": lr}), SCHEMA)


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
    for name, definition in (SCHEMA["$defs"] | SCHEMA["$defs"]["methods"]["$defs"]).items():
        visit(definition, name)
    assert not undescribed


WINSORIZED = {"method": "winsorized", "lr": 0.3}


def test_winsorised_entries_and_the_sgd_that_is_like_them_make_a_family():
    entries = {
        "c2": WINSORIZED | {"c": 2},
        "c8": WINSORIZED | {"c": 8},
        "slow": {"method": "winsorized", "lr": 0.1, "c": 4},
    }
    fast = {"fast_sgd": {"method": "sgd", "lr": 1.0}}
    config = CONFIG | {"optimizers": CONFIG["optimizers"] | entries | fast}
    names = ["sgd", "rm3", "fast_sgd", *entries]
    config = config | {"label_noise": CONFIG["label_noise"] | {"optimizers": names}}
    assert winsorization(config) == {
        "sgd": {"c": 0, "alike": 0}, "c2": {"c": 2, "alike": 0}, "c8": {"c": 8, "alike": 0},
        "slow": {"c": 4, "alike": 1},
    }  # fmt: skip
    assert study.table_settings(config, "overfit")["own"]["winsorization"] == winsorization(config)
    assert winsorization(CONFIG) == {}


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_winsorised_entries_of_further_combinations_make_a_family_too(name):
    """Where these studies winsorise, and nowhere else: the figure and the claims on it hang on their families."""
    config = study_config(ROOT / "config.yaml", [ROOT / f"studies/{name}.yaml"], {}).config
    assert {name: found["c"] for name, found in winsorization(config).items()} == {
        "sgd": 0, "winsorized_1": 1, "winsorized_2": 2, "winsorized_4": 4, "winsorized_8": 8,
    }  # fmt: skip
    assert "winsorization" in figures_of(config)
    assert study.claim_settings(config)["methods"]["winsorized_8"] == "winsorized"


def test_the_bound_is_worked_out_for_the_sgd_of_further_combinations_too():
    config = changed("optimizers", "slow", to={"method": "sgd", "lr": 0.1})
    config["label_noise"]["optimizers"] = ["sgd", "m3"]
    config["label_noise"]["further"] = [{"models": ["cnn"], "optimizers": ["rm3", "slow"]}]
    assert bound_settings(config | {"bound": {}})["optimizers"] == {"sgd": {"lr": 0.3}, "slow": {"lr": 0.1}}


NO_CHOICE = {"optimizers": [], "null_worlds": 2}


def test_contributions_of_further_combinations_are_those_of_their_partly_random_labels():
    config = changed("label_noise", "labels", to=["clean"])
    config |= {"experiments": ["contributions"], "contributions": NO_CHOICE}
    config["label_noise"]["further"] = [
        {"labels": ["all_random"]},
        {"labels": ["clean", "half_random"], "seeds": [7]},
    ]
    checks.check_references(config)
    assert {(run.labels, run.seed) for run in all_runs(config)} == {("half_random", 7)}
    config["label_noise"]["further"] = [{"labels": ["all_random"]}]
    with pytest.raises(UserError, match=r"^label_noise\.labels: found \['clean', 'all_random'\], expected one with"):
        checks.check_references(config)


def test_contributions_are_measured_in_partly_random_runs_only():
    config = CONFIG | {"experiments": ["contributions"], "contributions": NO_CHOICE}
    runs = all_runs(config)
    assert results_of(config) == {"contributions": runs}
    assert "contributions" not in results_of(CONFIG)
    assert {run.labels for run in runs} == {"half_random"}
    assert len(runs) == 2 * 4 * 5
    assert study.table_settings(config, "contributions")["noise"] == {"half_random": 0.5}
    settings = result("contributions").settings(config, runs[0])
    # and what the schema fills in
    assert settings == {"sample_size": 360, "null_worlds": 2, "sample": "fixed", "batch_norm": "none"}


def test_contributions_are_measured_for_the_chosen_optimizers():
    config = CONFIG | {"experiments": ["contributions"], "contributions": NO_CHOICE | {"optimizers": ["sgd"]}}
    checks.check_references(config)
    assert {run.optimizer for run in all_runs(config)} == {"sgd"}
    config["contributions"] = NO_CHOICE | {"optimizers": ["sgd", "adam"]}
    with pytest.raises(UserError, match=r"^contributions\.optimizers: found 'adam', expected an entry of optimizers"):
        checks.check_references(config)


def test_contributions_need_a_partly_random_label_set():
    config = changed("label_noise", "labels", to=["clean", "all_random"]) | {
        "experiments": ["contributions"],
        "contributions": NO_CHOICE,
    }
    with pytest.raises(UserError, match=r"^label_noise\.labels: found .*, expected one with a fraction between 0 and"):
        checks.check_references(config)


def test_contributions_look_at_the_names_of_the_label_noise_experiment():
    config = changed("label_noise", "models", to=["vit"]) | {
        "experiments": ["contributions"],
        "contributions": NO_CHOICE,
    }
    with pytest.raises(UserError, match=r"^label_noise\.models: found 'vit'"):
        checks.check_references(config)


def measuring(**settings):
    """The config of the tests with these settings of the measurement."""
    return CONFIG | {"measurement": CONFIG["measurement"] | settings}


MLP_RUN, CNN_RUN = (Run("digits", model, "all_random", "sgd", "full", 3) for model in ("mlp", "cnn"))


def test_nothing_of_a_network_without_batch_norm_depends_on_how_it_normalises():
    asked = [measuring(batch_norm=how, minibatch_size=20) for how in ("running", "sample", "minibatch")]
    assert len({canonical_json(result("coherence").settings(config, MLP_RUN)) for config in asked}) == 1
    of_cnn = [result("coherence").settings(config, CNN_RUN) for config in asked]
    assert [one["batch_norm"] for one in of_cnn] == ["running", "sample", "minibatch"]
    assert [one.get("minibatch_size") for one in of_cnn] == [None, None, 20]


def test_redrawn_labels_are_measured_in_the_runs_that_are_asked_for():
    def redrawn(asked, optimizer, name="coherence"):
        return result(name).settings(measuring(redrawn_labels=asked), replace(MLP_RUN, optimizer=optimizer))

    assert [redrawn(asked, "sgd")["redrawn_labels"] for asked in ("none", "sgd", "all")] == [False, True, True]
    assert [redrawn(asked, "m3")["redrawn_labels"] for asked in ("none", "sgd", "all")] == [False, False, True]
    assert redrawn("sgd", "sgd")["run_seed"] == 3
    assert "run_seed" not in redrawn("sgd", "m3")  # nothing of it depends on the run's seed
    assert not redrawn("all", "sgd", "coherence_m500")["redrawn_labels"]


def test_a_sample_by_seed_depends_on_the_seed_of_the_run():
    settings = result("contributions").settings(
        measuring(sample="by_seed") | {"contributions": {"optimizers": [], "null_worlds": 2}},
        replace(CNN_RUN, labels="half_random"),
    )
    assert (settings["sample"], settings["run_seed"]) == ("by_seed", 3)


def test_mini_batches_are_asked_for_only_where_they_say_something():
    checks.check_references(measuring(batch_norm="minibatch", minibatch_size=90))
    with pytest.raises(
        UserError, match=r"^measurement\.minibatch_size: found 91, expected at most half of the 180 exam"
    ):
        checks.check_references(measuring(batch_norm="minibatch", minibatch_size=91))
    config = measuring(batch_norm="minibatch") | {"experiments": ["label_noise", "contributions"]}
    with pytest.raises(
        UserError, match=r"^measurement\.batch_norm: found minibatch with models\.cnn in the experiment con"
    ):
        checks.check_references(config | {"contributions": {"optimizers": [], "null_worlds": 2}})


def test_gradient_confusion_is_of_mini_batches_whatever_batch_norm_takes():
    networks = {"datasets": ["digits"], "models": ["cnn"], "labels": ["clean"], "optimizer": "sgd", "seeds": [0]}
    config = measuring(batch_norm="minibatch", minibatch_size=9) | {"experiments": ["confusion"]}
    config = json.loads(json.dumps(config)) | {"confusion": networks | {"mini_batches": 2}}
    config["models"]["cnn"] = {"architecture": "deep_mlp", "width": 8, "depth": 2, "batch_norm": True}
    config["measurement"]["sample_size"] = 3  # too few for coherence of mini-batches, of which nothing is asked
    checks.check_references(config)


BY_SEED = {"source": "digits", "train_size": 720, "seed": 5, "split": "by_seed"}


def test_a_split_by_seed_has_images_of_its_own_for_every_seed():
    config = changed("datasets", "digits", to=BY_SEED) | {"experiments": ["label_noise"]}
    checks.check_references(config)
    assert study.preparation_settings(config, "digits", 3)["seed"] == 8
    assert study.preparation_settings(config, "digits") == CONFIG["datasets"]["digits"] | {"seed": 5}
    files = result_files(config)
    assert files["results/digits/data/digits/seed4/images.h5"]["seed"] == 9
    assert len([path for path in files if path.endswith("images.h5")]) == 1 + 5


@pytest.mark.parametrize(
    ("entry", "experiments", "message"),
    [
        (
            BY_SEED,
            ["label_noise", "easy_hard"],
            "found by_seed, expected fixed for easy and hard examples and for halves",
        ),
        (
            BY_SEED | {"seed": 2**32 - 1},
            ["label_noise"],
            "found by_seed with a sum of seeds of 4294967299, expected",
        ),
        ({"source": "mnist", "split": "by_seed"}, ["label_noise"], "found by_seed without train_size, expected fixed"),
    ],
)
def test_a_split_by_seed_is_refused_where_it_makes_no_sense(entry, experiments, message):
    config = changed("datasets", "digits", to=entry) | {"experiments": experiments}
    with pytest.raises(UserError, match=rf"^datasets\.digits\.split: {message}"):
        checks.check_references(config)


def test_intervals_say_what_they_cover():
    assert what_intervals_cover(CONFIG) == (
        "Intervals are over seeds, which differ in initial weights, order of the examples and which labels are "
        "corrupted. All seeds share the images of the training and the test part and which of them are measured, so "
        "that intervals do not cover the choice of these."
    )
    everything = measuring(sample="by_seed") | {"datasets": {"digits": BY_SEED}, "experiments": ["label_noise"]}
    assert what_intervals_cover(everything) == (
        "Intervals are over seeds, which differ in initial weights, order of the examples, which labels are corrupted, "
        "which images are in the training and the test part and which of them are measured."
    )
    assert what_intervals_cover(CONFIG | {"experiments": ["toy"]}) == ""
