"""What a study makes follows from the entries of its experiments."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from mcoherence.study.catalogue import (
    EXPERIMENTS,
    all_runs,
    figures_of,
    files_of_table,
    halved_datasets,
    images_of_figure,
    in_one_spelling,
    results_of,
    scored_networks,
    tables_of,
    tables_of_figure,
)
from mcoherence.study.runs import Run, grid, runs_of_grids

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())
CONFIG = yaml.safe_load((ROOT / "tests/digits_study.yaml").read_text())
WITH_SPLITS = CONFIG | {"experiments": ["easy_hard", "second_split", "difficulty_coherence"]}


def test_every_module_of_the_folder_is_an_experiment():
    folder = ROOT / "mcoherence/study/experiments"
    assert EXPERIMENTS.keys() == {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert set(SCHEMA["properties"]["experiments"]["items"]["enum"]) == EXPERIMENTS.keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_entry_names_what_is_there(name):
    experiment = EXPERIMENTS[name]
    assert {*experiment.sections, *experiment.needs} <= EXPERIMENTS.keys()
    assert set(experiment.entries.values()) <= {"datasets", "models", "labels", "optimizers"}
    for figure, entry in experiment.figures.items():
        assert (ROOT / f"mcoherence/figures/{figure}.py").is_file()
        assert (ROOT / f"docs/captions/figures/{figure}.rst").is_file()
        tables = {table for one in EXPERIMENTS.values() for table in one.tables}
        assert set(entry.tables) <= tables
    for table in experiment.tables:
        assert (ROOT / f"mcoherence/tables/{table}.py").is_file()


def test_no_two_experiments_make_the_same_table_or_figure_or_title():
    for kind in ("tables", "figures"):
        names = [name for one in EXPERIMENTS.values() for name in getattr(one, kind)]
        assert len(names) == len(set(names))
    titles = [figure.title for one in EXPERIMENTS.values() for figure in one.figures.values()]
    assert len(titles) == len(set(titles))


def test_a_grid_stands_for_all_combinations_seeds_fastest():
    section = {"datasets": ["d"], "models": ["a", "b"], "labels": "clean", "optimizer": "sgd", "seeds": [0, 1]}
    assert runs_of_grids([grid(section), grid(section, models=["b", "c"])]) == [
        Run("d", model, "clean", "sgd", "full", seed) for model in "abc" for seed in (0, 1)
    ]


def test_a_study_names_its_tables_figures_and_results():
    assert list(tables_of(CONFIG)) == [
        "accuracy", "coherence", "learning_time", "group_alignment", "overfit", "early_stopping", "equal_fit",
        "easy_hard", "difficulty", "difficulty_agreement",
    ]  # fmt: skip
    assert "winsorization" not in figures_of(CONFIG)
    assert tables_of_figure(CONFIG, figures_of(CONFIG)["summary"]) == ["coherence", "accuracy", "easy_hard"]
    alone = CONFIG | {"experiments": ["label_noise"]}
    assert tables_of_figure(alone, figures_of(alone)["summary"]) == ["coherence", "accuracy"]
    results = results_of(CONFIG)
    assert {name: len(runs) for name, runs in results.items()} == {"evaluation": 120 + 15, "coherence": 120}
    assert scored_networks(CONFIG) == [("digits", "cnn")]
    assert halved_datasets(CONFIG) == []


def test_a_figure_with_images_reads_the_stores_of_the_data_sets_in_its_tables():
    figures = figures_of(CONFIG)
    assert images_of_figure(CONFIG, figures["examples"]) == ["results/digits/data/digits/images.h5"]
    assert images_of_figure(CONFIG, figures["difficulty"]) == []


def test_files_of_a_table_are_named_once():
    files = files_of_table(CONFIG, "easy_hard")
    assert len(files) == 15 + 5 + 1  # evaluations, labels of five seeds, the split
    assert "results/digits/splits/digits/cnn/split.h5" in files
    assert files_of_table(CONFIG, "bound") == [
        f"results/digits/tables/{name}.parquet" for name in ("coherence", "accuracy")
    ]
    assert files_of_table(CONFIG, "toy") == []
    with_halves = files_of_table(WITH_SPLITS, "difficulty")
    assert "results/digits/splits/digits/halves.h5" in with_halves
    assert not [file for file in files_of_table(CONFIG, "difficulty") if "half" in file]


def test_splits_ask_for_the_evaluation_of_their_reference_runs():
    """The runs of difficulty_coherence are not evaluated for it, but the split needs those of the reference seeds."""
    config = copy.deepcopy(CONFIG) | {"experiments": ["adversarial_start"]}
    config["optimizers"]["other"] = {"method": "sgd", "lr": 1, "start": {"labels": "all_random", "optimizer": "sgd"}}
    config["adversarial_start"] = {
        "datasets": ["digits"], "models": ["mlp"], "labels": "clean", "optimizer": "sgd",
        "adversarial_optimizer": "other", "seeds": [7],
    }  # fmt: skip
    fresh, adversarial = (Run("digits", "mlp", "clean", name, "full", 7) for name in ("sgd", "other"))
    references = [Run("digits", "mlp", "clean", "sgd", "full", seed) for seed in range(5)]
    assert results_of(config) == {"evaluation": [fresh, adversarial, *references]}
    # A run that others start from is trained, and not evaluated.
    assert all_runs(config) == [
        fresh, adversarial, *references, Run("digits", "mlp", "all_random", "sgd", "full", 7),
    ]  # fmt: skip


def test_the_keys_of_a_section_that_name_entries_are_known_by_their_schema():
    assert EXPERIMENTS["adversarial_start"].entries == {
        "datasets": "datasets", "models": "models", "labels": "labels",
        "optimizer": "optimizers", "adversarial_optimizer": "optimizers",
    }  # fmt: skip
    assert EXPERIMENTS["label_noise"].entries == {name: name for name in ("datasets", "models", "labels", "optimizers")}
    assert EXPERIMENTS["second_split"].entries == EXPERIMENTS["toy"].entries == {}


def test_a_method_may_be_spelled_as_in_british_english():
    own = {"method": "winsorized", "lr": 0.1, "c": 2}
    config = {"study": "a", "optimizers": {"w": {**own, "method": "winsorised"}, "sgd": {"method": "sgd"}}}
    assert in_one_spelling(config) == {"study": "a", "optimizers": {"w": own, "sgd": {"method": "sgd"}}}
    assert in_one_spelling({"optimizers": ["w"]}) == {"optimizers": ["w"]}  # the schema says what is wrong with it
    assert in_one_spelling({"optimizers": {"w": {"method": ["winsorised"]}}}) == {
        "optimizers": {"w": {"method": ["winsorised"]}}
    }
