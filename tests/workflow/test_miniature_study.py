"""A miniature study run for real, and its numbers read back and computed again by other means."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import safe_open

from mcoherence import load_checkpoint
from mcoherence.audit.claims_ahead import claims_ahead
from mcoherence.audit.planned_tables import KNOWN, planned_tables
from mcoherence.claims.registry import claims_of
from mcoherence.tables.dictionary import columns_of
from mcoherence.tables.rows import run_keys

pytestmark = [pytest.mark.slow, pytest.mark.apart]
RUN = "runs/digits/cnn/half_random/rm3/full/seed1"
# What tells the rows of a table apart, where names and steps in it are outcomes: two examples stand for all.
MEASURED_KEYS = {"difficulty": [], "difficulty_agreement": ["other"], "equal_fit": ["pristine_accuracy"]}


def checkpoint_paths(run):
    return sorted((run / "checkpoints").iterdir(), key=lambda path: int(path.stem.removeprefix("step")))


def network_inputs(file, part):
    pixels = file[f"{part}/images"][:] / 255
    mean, std = (np.asarray(file.attrs[name]).reshape(1, -1, 1, 1) for name in ("mean", "std"))
    return torch.from_numpy((pixels - mean) / std)


def test_every_output_of_the_design_is_there(study):
    for name in (
        "data/digits/images.h5", "data/digits/labels/half_random/seed1/labels.h5", f"{RUN}/training_log.csv",
        f"{RUN}/evaluation.h5", f"{RUN}/coherence.h5", "difficulty/digits/cnn/difficulty.h5",
        "splits/digits/cnn/split.h5", "tables/accuracy.csv", "tables/coherence.parquet", "tables/learning_time.csv",
        "figures/coherence_by_step.png", "figures/coherence_by_loss.pdf", "figures/layer_coherence.png",
        "figures/pristine_corrupt.png", "figures/training_curves.png", "figures/generalization_gap.png",
        "figures/easy_hard.png", "figures/summary.png", "figures/group_alignment.png", "figures/contributions.pdf",
        "figures/optimizers.png", "figures/early_stopping.png", "tables/overfit.csv", f"{RUN}/contributions.h5",
        "claims.json", "index.html", "report.html",
    ):  # fmt: skip
        assert (study.results / name).stat().st_size > 0, name


def test_every_column_of_every_table_is_described(study):
    described = pd.read_csv(study.results / "tables/dictionary.csv", keep_default_na=False)
    tables = sorted((study.results / "tables").glob("*.parquet"))
    assert list(zip(described["table"], described["column"], strict=True)) == sorted(
        ((path.stem, column) for path in tables for column in pd.read_parquet(path).columns),
        key=lambda pair: list(dict.fromkeys(described["table"])).index(pair[0]),
    )
    assert (described["meaning"].str.len() > 5).all()


def test_the_plan_says_beforehand_which_claims_are_tested_and_what_the_others_miss(study):
    config = json.loads((study.results / "config.json").read_text())
    claims = json.loads((study.results / "claims.json").read_text())["claims"]
    ahead = claims_ahead(config, claims_of("mcoherence.claims"))
    assert {claim.id: claim.missing for claim in ahead} == {claim["id"]: claim["missing"] for claim in claims}


def test_the_plan_has_the_rows_of_every_table_that_claims_are_tested_on(study):
    config = json.loads((study.results / "config.json").read_text())
    made = {path.stem for path in (study.results / "tables").glob("*.parquet")}
    for name, planned in planned_tables(config, sorted(KNOWN & made)).items():
        table = pd.read_parquet(study.results / f"tables/{name}.parquet")
        assert set(table) == set(planned) - ({"diverged"} - set(table)), name
        columns, runs = columns_of(name), run_keys(table)
        others = [key for key in table if key == "step" or not (columns[key].unit or key in ("diverged", *runs))]
        keys = [*runs, *MEASURED_KEYS.get(name, others)]
        rows, ahead = (set(one[keys].itertuples(index=False, name=None)) for one in (table, planned))
        assert rows == ahead, name


def test_coherence_equals_brute_force_from_the_checkpoint_files(study):
    """Every example's gradient of every parameter, one by one, in float64, at every checkpoint."""
    run = study.results / RUN
    with h5py.File(run / "coherence.h5") as file:
        stored = {
            name: file[name][:] for name in ("step", "n", "sum_sq_norm", "gram", "m_coherence", "m_coherence_model")
        }
        names = {name: [value.decode() for value in file[name][:]] for name in ("group", "layer", "parameter")}
        index = {name: file[f"{name}/index"][:] for name in ("sample", "heldout")}
        group = np.concatenate([file[f"{name}/group"][:] for name in ("sample", "heldout")])
    with h5py.File(study.results / "data/digits/images.h5") as file:
        inputs = torch.cat(
            [network_inputs(file, "train")[index["sample"]], network_inputs(file, "test")[index["heldout"]]]
        )
        test_targets = file["test/targets"][:][index["heldout"]]
    with h5py.File(study.results / "data/digits/labels/half_random/seed1/labels.h5") as file:
        targets = torch.from_numpy(np.concatenate([file["labels"][:][index["sample"]], test_targets]))
        assert np.array_equal(group[:50] == names["group"].index("corrupt"), file["changed"][:][index["sample"]])
    assert names["group"] == ["pristine", "corrupt", "heldout"]
    assert names["layer"] == ["conv1", "bn1", "conv2", "bn2", "hidden", "output"]

    paths = checkpoint_paths(run)
    assert stored["step"].tolist() == [int(path.stem.removeprefix("step")) for path in paths] == [0, 1, 2, 4, 6, 8, 12]
    for k, path in enumerate(paths):
        model = load_checkpoint(path).double()
        assert [name for name, _ in model.named_parameters()] == names["parameter"]
        sums, norms = {}, np.zeros((3, len(names["parameter"])))
        for i in range(len(inputs)):
            loss = F.cross_entropy(model(inputs[i : i + 1]), targets[i : i + 1])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            norms[group[i]] += [g.square().sum().item() for g in gradients]
            sums[group[i]] = [s + g for s, g in zip(sums.get(group[i], [0] * len(gradients)), gradients, strict=True)]
        gram = np.array(
            [
                [[(a * b).sum().item() for a, b in zip(sums[x], sums[y], strict=True)] for y in range(3)]
                for x in range(3)
            ]
        )
        assert stored["n"][k].tolist() == [(group == g).sum() for g in range(3)]
        assert stored["sum_sq_norm"][k] == pytest.approx(norms, rel=1e-10)
        assert stored["gram"][k] == pytest.approx(gram, rel=1e-9, abs=1e-9 * gram.max())
        squared = np.einsum("ggp->gp", gram)
        assert stored["m_coherence_model"][k] == pytest.approx(squared.sum(1) / norms.sum(1), rel=1e-9)
        for position, layer in enumerate(names["layer"]):
            own = [i for i, name in enumerate(names["parameter"]) if name.startswith(f"{layer}.")]
            assert stored["m_coherence"][k, :, position] == pytest.approx(
                squared[:, own].sum(1) / norms[:, own].sum(1), rel=1e-9
            )


def test_contributions_equal_those_of_the_loss_gradients_from_the_checkpoint_files(study):
    """The gradient of the summed loss of each group, by one backward pass each, in every world."""
    run = study.results / RUN
    with h5py.File(run / "contributions.h5") as file:
        index, cell, corrupt_cells = file["sample/index"][:], file["sample/group"][:], file["corrupt_cells"][:]
    with h5py.File(study.results / "data/digits/images.h5") as file:
        inputs = network_inputs(file, "train")[index]
    with h5py.File(study.results / "data/digits/labels/half_random/seed1/labels.h5") as file:
        targets, changed = torch.from_numpy(file["labels"][:][index]), file["changed"][:][index]
    worlds = dict(zip(("measured", "null 1", "null 2"), corrupt_cells[:, cell], strict=True))
    assert np.array_equal(worlds["measured"], changed)
    assert all(corrupt.sum() == changed.sum() for corrupt in worlds.values())
    table = pd.read_csv(study.results / "tables/contributions.csv").query("optimizer == 'rm3' and seed == 1")
    table = table.set_index(["world", "step"])
    for step in (0, 12):
        model = load_checkpoint(run / f"checkpoints/step{step}.safetensors").double()
        loss = F.cross_entropy(model(inputs), targets, reduction="none")
        for world, corrupt in worlds.items():
            parts = [loss[~corrupt].sum(), loss[corrupt].sum()]
            pristine, other = (
                torch.cat([g.flatten() for g in torch.autograd.grad(part, list(model.parameters()), retain_graph=True)])
                for part in parts
            )
            total = pristine + other
            row = table.loc[(world, step)]
            assert row["f_pristine"] == pytest.approx(float(pristine @ total / (total @ total)), rel=1e-9)
            assert row["f_corrupt"] == pytest.approx(float(other @ total / (total @ total)), rel=1e-9)


def test_the_measurement_records_its_own_evidence(study):
    with h5py.File(study.results / RUN / "coherence.h5") as file:
        evidence = json.loads(file.attrs["evidence"])
        examples = int(file["n"][:].sum())
    assert evidence["examples_asked"] == evidence["examples_measured"] == examples == 7 * 70
    assert evidence["parameters_covered"] == evidence["parameters_trainable"]
    assert evidence["bound_ratio"] <= 1
    assert evidence["spot_examples"] == 7 * 2
    assert evidence["spot_relative_error"] < 1e-10
    assert evidence["by_whole_model"] == []


def test_evaluation_equals_the_checkpoints(study):
    run = study.results / RUN
    with h5py.File(study.results / "data/digits/images.h5") as file:
        inputs, targets = network_inputs(file, "test").float(), torch.from_numpy(file["test/targets"][:])
    with h5py.File(run / "evaluation.h5") as file:
        for k, path in enumerate(checkpoint_paths(run)):
            with torch.no_grad():
                logits = load_checkpoint(path)(inputs)
            loss = F.cross_entropy(logits, targets, reduction="none")
            assert file["test/loss"][k] == pytest.approx(loss.numpy(), rel=1e-4, abs=1e-6)
            assert np.array_equal(file["test/prediction"][k], logits.argmax(1).numpy())
        assert file["train/loss"].shape == (7, 120)


def test_corruption_is_exact_and_test_labels_stay_clean(study):
    with h5py.File(study.results / "data/digits/labels/half_random/seed1/labels.h5") as file:
        assert file["selected"][:].sum() == 60
        assert np.array_equal(file["changed"][:], file["labels"][:] != file["original"][:])
        assert not np.any(file["changed"][:] & ~file["selected"][:])


def test_retraining_on_easy_examples_used_only_them(study):
    """A run on the easy part, trained again here from its own settings, ends in the same weights."""
    from mcoherence.data.loading import LabelledExamples, image_loader
    from mcoherence.training.loop import train
    from mcoherence.training.settings import Execution, TrainingSettings

    run = study.results / "runs/digits/cnn/clean/sgd/easy/seed10"
    with safe_open(run / "checkpoints/step12.safetensors", framework="pt") as file:
        settings = json.loads(file.metadata()["provenance"])["settings"]
    identity, augmentation = settings.pop("run"), settings.pop("augmentation")
    assert (identity["subset"], augmentation) == ("easy", None)
    assert (settings["start"], settings["stop"]) == (6, 12)
    with h5py.File(study.results / "splits/digits/cnn/split.h5") as file:
        easy = file["easy_train"][:]
    images = study.results / "data/digits/images.h5"
    with h5py.File(images) as file:
        targets = file["train/targets"][:]
    assert len(easy) == 48  # half of 120, a fifth of that kept for testing
    kept = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the job: another number of threads may round sums differently
    train(
        TrainingSettings(**settings | {"start": 0, "checkpoint_steps": (12,)}),  # both segments in one go
        LabelledExamples(
            image_loader(images, easy, torch.device("cpu")),
            torch.from_numpy(targets[easy]),
        ),
        Execution(torch.device("cpu")),
        lambda step, epoch, model, diverged_at: kept.update(model.state_dict()),
    )
    torch.set_num_threads(threads)
    trained = load_checkpoint(run / "checkpoints/step12.safetensors").state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in trained.items())


def test_the_logs_of_the_segments_follow_each_other(study):
    first, second = (
        pd.read_csv(study.results / RUN / name) for name in ("training_log.csv", "training_log_from_6.csv")
    )
    assert [*first["step"], *second["step"]] == list(range(12))
    assert first["epoch"].iloc[-1] < second["epoch"].iloc[0]


def test_tables_agree_with_the_files(study):
    accuracy = pd.read_csv(study.results / "tables/accuracy.csv")
    with (
        h5py.File(study.results / RUN / "evaluation.h5") as file,
        h5py.File(study.results / "data/digits/labels/half_random/seed1/labels.h5") as labels,
    ):
        corrupt = labels["changed"][:]
        expected = (file["train/prediction"][-1] == labels["labels"][:])[corrupt].mean()
    row = accuracy.query(
        "labels == 'half_random' and optimizer == 'rm3' and seed == 1 and step == 12 and part == 'corrupt'"
    )
    assert row["accuracy"].item() == pytest.approx(expected)
    assert row["noise"].item() == 0.5
    coherence = pd.read_csv(study.results / "tables/coherence.csv")
    with h5py.File(study.results / RUN / "coherence.h5") as file:
        gram, total = file["gram"][3][:2, :2].sum(), file["sum_sq_norm"][3][:2].sum()
    run = "labels == 'half_random' and optimizer == 'rm3' and seed == 1"
    row = coherence.query(f"{run} and step == 4 and group == 'train' and layer == 'model'")
    assert row["m_coherence"].item() == pytest.approx(gram / total)
    assert row["n"].item() == 50
    cells = pd.read_csv(study.results / "tables/easy_hard.csv")
    assert set(zip(cells["train_subset"], cells["test_subset"], strict=True)) == {
        (a, b) for a in ("easy", "hard", "random") for b in ("easy", "hard", "random", "original")
    }
    assert cells.groupby(["train_subset", "test_subset"]).size().eq(2).all()


def test_claims_carry_statistic_value_interval_and_verdict(study):
    claims = {claim["id"]: claim for claim in json.loads((study.results / "claims.json").read_text())["claims"]}
    assert {"P1", "P3", "P8", "P9", "P13", "P15"} <= set(claims)
    tested = [claim for claim in claims.values() if claim["verdict"] != "not tested"]
    assert all(
        (claim["verdict"] == "reported")
        if claim["level"] == "III" or claim["id"] == "P5"  # which is of ImageNet's images
        else claim["verdict"] in ("supported", "not supported", "inconclusive")
        for claim in tested
    )
    assert claims["P18"]["missing"] == "needs the experiment toy, which this study does not make"
    cells = pd.read_csv(study.results / "tables/easy_hard.csv").set_index(["train_subset", "test_subset", "seed"])[
        "accuracy"
    ]
    difference = [
        cells["easy", "easy", seed] - cells["hard", "hard", seed]
        - (cells["random", "easy", seed] - cells["random", "hard", seed])
        for seed in (10, 11)
    ]  # fmt: skip
    assert claims["P15"]["value"] == pytest.approx(np.mean(difference))
    half = 12.7062047 * np.std(difference, ddof=1) / np.sqrt(2)  # t(0.975, 1)
    assert claims["P15"]["interval"] == pytest.approx(sorted(difference))  # 1/4 of the resamples have one seed alone
    assert claims["P15"]["t_interval"] == pytest.approx([np.mean(difference) - half, np.mean(difference) + half])
    assert claims["P15"]["num_seeds"] == 2
    (part,) = claims["P15"]["parts"]
    # which stands for two networks and a control, so that it wants three seeds
    assert (part["null"], part["null_rule"]) == (None, "not known: needs 3 seeds of one condition")


def test_every_hdf5_file_says_where_it_comes_from(study):
    files = list(study.results.rglob("*.h5"))
    assert len(files) > 20
    for path in files:
        with h5py.File(path) as file:
            assert file.attrs["schema"].startswith("mcoherence/"), path
            for name in ("settings", "git_commit", "versions", "device", "inputs"):
                assert name in file.attrs, (path, name)


def test_the_report_is_whole_and_opens_offline(study):
    text = (study.results / "report.html").read_text()
    for content in (
        "2.1 along training",
        "the papers&#39; claims",
        "2. Coherence along training",
        "7. Settings, versions, run times",
    ):
        assert content.replace("&#39;", "'") in text or content in text, content
    assert 'src="http' not in text
    assert '<link href="http' not in text


def test_logs_and_benchmarks_are_kept(study):
    assert "train: 6/6 (100%), loss " in (study.results / f"logs/train/{RUN.removeprefix('runs/')}.log").read_text()
    assert (study.results / f"benchmarks/train/{RUN.removeprefix('runs/')}.tsv").read_text().startswith("s\t")


def test_a_failing_job_says_why_in_one_line_and_leaves_nothing_half_written(study, tmp_path):
    import subprocess
    import sys

    answer = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.corrupt_labels", "--settings", '{"fraction": 0.5, "seed": 0}',
         "--images", str(tmp_path / "gone.h5"), "--labels", str(tmp_path / "labels.h5")],
        cwd=study.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        f"error: {tmp_path}/gone.h5: not found; expected a mcoherence/images/2 file; look at the path, or make it"
    ]
    assert not list(tmp_path.iterdir())
