"""Measuring and evaluating in parts: how a run is cut, and that parts put together equal one pass."""

import json
import re
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import open_source
from mcoherence.data.store import read_labels, read_targets
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.errors import UserError
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.gradients.batch_norm import with_sample_statistics
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.measuring.evaluation import positions_in_shard
from mcoherence.measuring.job import MeasuringJob
from mcoherence.measuring.joining import add_shards, join
from mcoherence.measuring.samples import Sample
from mcoherence.models import NetworkSettings, build_model, load_checkpoint, save_checkpoint
from mcoherence.study import cutting
from mcoherence.study.result_names import (
    DIFFICULTY_GROUPS,
    SCHEMAS,
    schemas_of,
)
from mcoherence.study.shards import Shard
from mcoherence.tables.coherence import coherence_by_layer
from mcoherence.tables.sums import Sums
from workflow_scripts import add_shards as add_shards_command
from workflow_scripts import (
    corrupt_labels,
    evaluate,
    join_evaluation,
    join_measurement,
    measure_coherence,
    measure_contributions,
    measure_difficulty_coherence,
)


def test_blocks_are_neighbouring_checkpoints():
    steps = [0, 1, 2, 4, 8]
    assert cutting.blocks(steps, 0) == [(0, 8)]
    assert cutting.blocks(steps, 2) == [(0, 1), (2, 4), (8, 8)]
    assert cutting.block_steps(steps, 2, 4) == [2, 4]


def test_shards_cover_everything_once_and_differ_by_one_at_most():
    assert cutting.shard_count(10, 0) == 1
    assert cutting.shard_count(10, 4) == 3
    assert [np.arange(10)[Shard(number, 3).rows(10)].tolist() for number in range(3)] == [
        [0, 1, 2], [3, 4, 5], [6, 7, 8, 9],
    ]  # fmt: skip
    assert np.arange(1)[Shard(0, 2).rows(1)].tolist() == []


def test_shards_of_an_evaluation_begin_with_a_batch():
    assert [(part[0], part[-1]) for part in (positions_in_shard(2500, Shard(number, 2)) for number in range(2))] == [
        (0, 1023), (1024, 2499),
    ]  # fmt: skip


def test_only_much_work_is_done_in_parts():
    assert not cutting.in_parts(540, 22, cutting.MEASURED_IN_PARTS)  # the default study
    assert not cutting.in_parts(1797, 22, cutting.EVALUATED_IN_PARTS)
    assert cutting.in_parts(60_000, 90, cutting.MEASURED_IN_PARTS)  # ImageNet


def test_a_shard_of_a_sample_keeps_its_groups():
    sample = Sample(np.array([3, 5, 8]), np.array([0, 1, 0])).rows(Shard(1, 2).rows(3))
    assert (sample.index.tolist(), sample.group.tolist()) == ([5, 8], [1, 0])


@pytest.mark.parametrize("result", [*SCHEMAS, "coherence_m500"])
def test_a_shard_of_a_result_has_a_schema_of_its_own(result):
    whole, shard = schemas_of(result)
    name = result.removesuffix("_m500")
    assert re.fullmatch(rf"mcoherence/{name}/\d+", whole)
    assert re.fullmatch(rf"mcoherence/{name}_shard/\d+", shard)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Digits, half of their labels random, a split, and three checkpoints of which the last one has diverged."""
    folder = tmp_path_factory.mktemp("run")
    images, labels = folder / "images.h5", folder / "labels.h5"
    digits = open_source({"source": "digits", "train_size": 60, "seed": 0}, folder, False)
    prepare_images(images, digits, {}, 1, "key")
    run(corrupt_labels, {"fraction": 0.5, "scheme": "uniform", "seed": 0}, images=images, labels=labels)
    rng, split = np.random.default_rng(0), folder / "split.h5"
    parts = {name: np.sort(rng.permutation(60)[:20]) for name in DIFFICULTY_GROUPS}
    write_hdf5(split, SPLIT_SCHEMA, parts, {})
    settings, checkpoints = {"architecture": "cnn", "channels": [3, 4], "hidden": 6, "batch_norm": True}, []
    for number, step in enumerate((0, 2, 5)):
        torch.manual_seed(number)
        model = build_model(settings, (1, 8, 8), 10)
        metadata = {"step": step, "epoch": step / 3, "run": {"seed": 0}, "provenance": {}}
        if step == 5:
            metadata["diverged_at"] = 3
            for parameter in model.parameters():
                torch.nn.init.constant_(parameter, float("nan"))
        checkpoints.append(folder / f"step{step}.safetensors")
        save_checkpoint(checkpoints[-1], model, NetworkSettings(settings, (1, 8, 8), 10), metadata)
    return {"images": images, "labels": labels, "split": split, "checkpoints": checkpoints, "folder": folder}


def run(module, settings, **options):
    """The main function of a command-line module, in this process; `settings` is None where it takes none."""
    command = ["x"] if settings is None else ["x", "--settings", json.dumps(settings)]
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        command += [f"--{name.replace('_', '-')}", *map(str, values)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        module.main()


def contents(path):
    with h5py.File(path) as file:
        names = json.loads(file.attrs["contents"])
        return {name: file[name][()] for name in names}, {
            key: value for key, value in file.attrs.items() if key not in ("digests", "seal")
        }


MEASUREMENT = {
    "sample_size": 50, "heldout_size": 31, "seed": 0, "tf32": False, "sample": "fixed",
}  # fmt: skip
COMMANDS = {  # result: its command, the settings that it takes besides, the examples it measures at each checkpoint
    "coherence": (measure_coherence, {"subset": "full", "redrawn_labels": True, "run_seed": 3}, 131),
    "contributions": (measure_contributions, {"null_worlds": 1}, 50),
    "difficulty_coherence": (measure_difficulty_coherence, {}, 60),  # half of each of six parts of twenty
}
RUNNING = {"batch_norm": "running"}
SAMPLE = {"batch_norm": "sample"}
MINIBATCH = {"batch_norm": "minibatch", "minibatch_size": 10}  # of 50 examples twice and 31: 130


def measured(
    files,
    precision,
    name,
    chosen=slice(None),
    result="coherence",
    parts=(),
    batch_norm=RUNNING,
    redrawn=True,
    **options,
):
    command, further, _ = COMMANDS[result]
    path = files["folder"] / name
    given = {"images": files["images"], "labels": files["labels"], "parts": list(parts), "device": "cpu"}
    given["split"] = files["split"] if result == "difficulty_coherence" else []
    settings = MEASUREMENT | {"precision": precision} | batch_norm | further
    if not redrawn:
        settings["redrawn_labels"] = False
    run(command, settings, **given, checkpoints=files["checkpoints"][chosen], result=path, **options)
    return path


BLOCKS = (slice(0, 1), slice(1, 3))


def in_parts(files, precision, result, batch_norm):
    """The contents of a result that was made in shards of blocks of the checkpoints."""
    blocks = []
    for number, block in enumerate(BLOCKS):
        shards = [
            measured(files, precision, f"{number}{i}.h5", block, result, (), batch_norm, shard=i, shards=3)
            for i in range(3)
        ]
        blocks.append(files["folder"] / f"block{number}.h5")
        run(add_shards_command, None, shards=shards, block=blocks[-1], result=result)
    joined = files["folder"] / "joined.h5"
    run(join_measurement, None, blocks=blocks[::-1], whole=joined, result=result)
    return contents(measured(files, precision, "copied.h5", slice(0), result, [joined], batch_norm))


@pytest.mark.parametrize(
    ("precision", "tolerance", "result", "batch_norm"),
    [
        *(
            (precision, near, result, RUNNING)
            for precision, near in (("float64", 1e-12), ("float32", 1e-5))
            for result in COMMANDS
        ),
        ("float64", 1e-12, "coherence", SAMPLE),
        ("float64", 1e-12, "coherence", MINIBATCH),
    ],
)
def test_shards_added_and_blocks_joined_equal_one_pass(files, precision, tolerance, result, batch_norm):
    whole, attributes = contents(measured(files, precision, "whole.h5", result=result, batch_norm=batch_norm))
    parts, described = in_parts(files, precision, result, batch_norm)

    by_examples = batch_norm is not MINIBATCH
    gram, norms = ("gram", "sum_sq_norm") if by_examples else ("minibatch_gram", "minibatch_sum_sq_norm")
    assert parts.keys() == whole.keys()
    for name in whole.keys() - {norms, gram, "m_coherence", "m_coherence_model"}:
        assert np.array_equal(parts[name], whole[name]), name
    assert whole["diverged"].tolist() == [False, False, True]
    for k in range(2):
        scale = np.abs(whole[gram][k]).max()
        assert np.abs(parts[gram][k] - whole[gram][k]).max() <= tolerance * scale
        for name in (norms, "m_coherence_model"):
            assert parts[name][k] == pytest.approx(whole[name][k], rel=tolerance), name
        assert parts["m_coherence"][k] == pytest.approx(whole["m_coherence"][k], rel=tolerance, nan_ok=True)
    assert np.isnan(parts[gram][2]).all()

    evidence, expected = json.loads(described.pop("evidence")), json.loads(attributes.pop("evidence"))
    examples = COMMANDS[result][2] if by_examples else 130
    assert evidence["examples_measured"] == expected["examples_measured"] == 2 * examples
    assert evidence["bound_ratio"] == pytest.approx(expected["bound_ratio"], rel=tolerance)
    assert evidence["spot_examples"] == 3 * expected["spot_examples"]
    assert described == attributes
    assert json.loads(described["batch_norm"])["statistics"] == batch_norm["batch_norm"]


def test_parts_of_an_evaluation_have_the_bits_of_the_whole(files):
    paths = [files["folder"] / f"evaluation{number}.h5" for number in range(5)]
    given = {"images": files["images"], "labels": files["labels"], "split": [], "parts": [], "device": "cpu"}
    run(evaluate, {"tf32": False}, **given, checkpoints=files["checkpoints"], result=paths[0])
    for number, (block, one) in enumerate(((block, one) for block in BLOCKS for one in (0, 1)), start=1):
        chosen = files["checkpoints"][block]
        run(evaluate, {"tf32": False}, **given, checkpoints=chosen, shard=one, shards=2, result=paths[number])
    whole = files["folder"] / "evaluation.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["x", "--sharded", "--whole", str(whole), "--parts", *map(str, paths[1:])])
        join_evaluation.main()
    assert whole.read_bytes() == paths[0].read_bytes()


def test_a_sample_of_the_training_part_is_evaluated_in_parts_with_the_bits_of_the_whole(files):
    settings = {"tf32": False, "train_examples": 40, "seed": 5}
    paths = [files["folder"] / f"sampled{number}.h5" for number in range(3)]
    given = {"images": files["images"], "labels": files["labels"], "split": [], "parts": [], "device": "cpu"}
    run(evaluate, settings, **given, checkpoints=files["checkpoints"], result=paths[0])
    for shard, path in enumerate(paths[1:]):
        run(evaluate, settings, **given, checkpoints=files["checkpoints"], shard=shard, shards=2, result=path)
    together, _ = join(paths[1:], *schemas_of("evaluation"))
    alone, _ = contents(paths[0])
    assert together.keys() == alone.keys()
    assert all(np.asarray(together[name]).tobytes() == alone[name].tobytes() for name in alone)

    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence(5, spawn_key=(15,))))
    index = alone["train/index"]
    train_size = len(read_labels(files["labels"]).labels)
    assert index.tolist() == sorted(stream.choice(train_size, 40, replace=False))
    everything = files["folder"] / "everything.h5"
    run(evaluate, {"tf32": False}, **given, checkpoints=files["checkpoints"], result=everything)
    whole, _ = contents(everything)
    assert alone["train/loss"] == pytest.approx(whole["train/loss"][:, index], rel=1e-5, nan_ok=True)
    assert alone["test/loss"].tobytes() == whole["test/loss"].tobytes()


def batch_of(files, positions, part="train"):
    """Inputs and the labels trained on, in float64."""
    job = MeasuringJob(files["images"], files["checkpoints"], torch.device("cpu"))
    (inputs,) = job.load(part, positions, torch.float64).batches([(0, np.arange(len(positions)))])
    return inputs


def sums_by_loop(model, inputs, labels):
    """|S|^2 and Q of the whole network, by a loop over examples."""
    rows = per_example_gradients(model, torch.nn.CrossEntropyLoss(reduction="none"), inputs, torch.from_numpy(labels))
    flat = torch.cat([value.flatten(1) for value in rows.values()], dim=1)
    return flat.sum(0).square().sum().item(), flat.square().sum().item()


def test_redrawn_labels_are_a_further_group_that_changes_no_other(files):
    """Sums of the redrawn group are those of a loop over the sample with labels from the stream that is stated."""
    found, _ = contents(measured(files, "float64", "redrawn.h5"))
    assert found["group"].astype(str).tolist() == ["pristine", "corrupt", "heldout", "redrawn"]
    assert found["n"][0, 3] == found["n"][0, :2].sum() == 50
    for k, step in enumerate((0, 2, 5)):
        stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence(0, spawn_key=(12, 3, step))))
        assert found["redrawn/label"][k].tolist() == stream.integers(0, 10, size=50).tolist()
    model = load_checkpoint(files["checkpoints"][1]).double()
    squared, total = sums_by_loop(model, batch_of(files, found["sample/index"]), found["redrawn/label"][1])
    assert found["gram"][1, 3, 3].sum() == pytest.approx(squared, rel=1e-10)
    assert found["sum_sq_norm"][1, 3].sum() == pytest.approx(total, rel=1e-10)

    alone, _ = contents(measured(files, "float64", "alone.h5", redrawn=False))
    assert alone["group"].astype(str).tolist() == ["pristine", "corrupt", "heldout"]
    assert alone["sum_sq_norm"].tobytes() == found["sum_sq_norm"][:, :3].tobytes()
    np.testing.assert_allclose(alone["gram"], found["gram"][:, :3, :3], rtol=0, atol=1e-14 * np.nanmax(found["gram"]))


def test_statistics_of_the_sample_are_those_of_its_training_examples(files):
    found, attributes = contents(measured(files, "float64", "sample.h5", batch_norm=SAMPLE))
    assert json.loads(attributes["batch_norm"]) == {"statistics": "sample", "layers": ["bn1", "bn2"]}
    model = load_checkpoint(files["checkpoints"][1]).double()
    inputs = batch_of(files, found["sample/index"])
    copy = with_sample_statistics(model, [(inputs,)])
    of_heldout = sums_by_loop(
        copy,
        batch_of(files, found["heldout/index"], "test"),
        read_targets(files["images"], "test")[found["heldout/index"]],
    )
    assert (found["gram"][1, 2, 2].sum(), found["sum_sq_norm"][1, 2].sum()) == pytest.approx(of_heldout, rel=1e-10)
    labels = read_labels(files["labels"]).labels[found["sample/index"]]
    squared, total = sums_by_loop(copy, inputs, labels)
    assert found["gram"][1, :2, :2].sum() == pytest.approx(squared, rel=1e-10)
    assert found["sum_sq_norm"][1, :2].sum() == pytest.approx(total, rel=1e-10)


def test_minibatches_are_disjoint_and_the_table_has_what_the_file_says(files):
    path = measured(files, "float64", "minibatch.h5", batch_norm=MINIBATCH)
    found, attributes = contents(path)
    assert json.loads(attributes["batch_norm"])["minibatch_size"] == 10
    assert found.keys() & {"gram", "sum_sq_norm"} == set()
    assert np.bincount(found["sample/minibatch"]).tolist() == [10] * 5
    assert np.bincount(found["heldout/minibatch"] + 1).tolist() == [1, 10, 10, 10]
    rows = coherence_by_layer(Sums.read(path, schemas_of("coherence").whole)).set_index(["group", "layer", "step"])
    assert set(rows.index.get_level_values("group")) == {"train", "heldout", "redrawn"}
    for place, (group, n) in enumerate((("train", 50), ("heldout", 30), ("redrawn", 50))):
        row = rows.loc[(group, "model", 2)]
        squared, total, count = (
            found["minibatch_gram"][1, place, place].sum(),
            found["minibatch_sum_sq_norm"][1, place].sum(),
            n // 10,
        )
        of_means = squared / total / count
        assert row["n"] == n
        assert row["alpha"] == pytest.approx(of_means / (10 - 9 * of_means))
        assert (
            row["m_coherence"] == pytest.approx(n * row["alpha"]) == pytest.approx(found["m_coherence_model"][1, place])
        )
        assert rows.loc[(group, "conv2", 2), "m_coherence"] == pytest.approx(found["m_coherence"][1, place, 2])
        assert row["pairwise_alignment"] == pytest.approx((row["m_coherence"] - 1) / (n - 1))
        assert row["sq_norm_of_sum"] == pytest.approx(100 * squared)
        assert np.isnan(row["sum_sq_norm"])
        assert row["batch_norm"] == "minibatch"
        assert np.isnan(rows.loc[(group, "model", 5), "m_coherence"])
    with pytest.raises(UserError, match="found minibatch for difficulty_coherence, expected running or sample there"):
        measured(files, "float64", "none.h5", result="difficulty_coherence", batch_norm=MINIBATCH)
    with pytest.raises(UserError, match="found 26, which makes 1 mini-batches of the 50 train examples measured"):
        measured(files, "float64", "none.h5", batch_norm=MINIBATCH | {"minibatch_size": 26})


def test_parts_of_different_wholes_are_refused(files):
    one = measured(files, "float32", "one.h5", BLOCKS[0], shard=0, shards=2)
    other = measured(files, "float64", "other.h5", BLOCKS[0], shard=1, shards=2)
    schema, shard_schema = schemas_of("coherence")
    with pytest.raises(UserError, match=r"other\.h5: found other settings than in .*one\.h5, expected parts of one"):
        add_shards([one, other], shard_schema)
    with pytest.raises(UserError, match=rf"found {shard_schema}, expected {schema}"):
        join([one], schema)
    with pytest.raises(UserError, match=r"nowhere\.h5: not found"):
        join([Path("nowhere.h5")], *schemas_of("evaluation"))
