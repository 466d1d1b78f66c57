"""The plan of a study: work, jobs, disk and hours worked by hand, and the source of every rate."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mcoherence.audit.plan import describe, estimates, job_seconds, memory_of, most_temporary_bytes, work_of
from mcoherence.audit.planned_tables import planned_tables
from mcoherence.audit.speeds import COPY_SECONDS, PASS_SECONDS, network_of, rate_elsewhere, stated_rate
from mcoherence.models.memory import example_bytes
from mcoherence.study.data_sizes import Size, size_of
from mcoherence.study.estimates import BASE_MB, job_mb
from mcoherence.study.results import result, steps_of_result
from mcoherence.study.runs import Run

ROOT = Path(__file__).parents[3]
LINEAR = {"architecture": "mlp", "hidden": []}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A linear classifier of 8 x 8 pixels: 640 weights and 10 biases, 1280 operations; 100 and 1697 images."""
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((ROOT / "tests/digits_study.yaml").read_text())
    config |= {
        "experiments": ["label_noise", "sample_size"],
        "datasets": {"digits": {"source": "digits", "train_size": 100}},
        "models": {"linear": LINEAR},
        "optimizers": {"sgd": {"method": "sgd", "lr": 1, "momentum": 0.5}, "rm3": {"method": "rm3", "lr": 1}},
        "training": {
            "updates": 5, "batch_size": 10, "segment_updates": 3,
            "checkpoints": {"every_step_until": 2, "per_doubling": 1}, "for_optimizers": {"rm3": {"updates": 3}},
        },
        "measurement": {"sample_size": 30, "heldout_size": 20},
        "sample_size": {
            "datasets": ["digits"], "models": ["linear"], "labels": ["clean"], "optimizer": "sgd", "seeds": [0],
            "sizes": [60, 900],
        },
    }  # fmt: skip
    config["label_noise"] = {
        "datasets": ["digits"], "models": ["linear"], "labels": ["clean"], "optimizers": ["sgd", "rm3"], "seeds": [0],
    }  # fmt: skip
    return config


SGD = Run("digits", "linear", "clean", "sgd", "full", 0)
FORWARD = 2 * 64 * 10
DIGITS = Size(100, 1697, (1, 8, 8), 10)


def test_a_network_is_counted_without_being_made():
    network = network_of(LINEAR, Size(1, 1, (1, 8, 8), 10))
    assert (network.parameters, network.bytes, network.flops) == (650, 4 * 650, FORWARD)
    resnet = network_of({"architecture": "resnet18"}, Size(1, 1, (3, 224, 224), 1000))
    assert resnet.parameters == 11_689_512
    assert resnet.flops == pytest.approx(2 * 1.814e9, rel=0.001)  # 1.814 thousand million multiply-adds


def test_work_is_passes_times_examples(config):
    assert work_of(config, SGD, "train") == 3 * FORWARD * 5 * 10
    checkpoints = 6  # 0, 1, 2; 3, the end of a segment; 4; 5
    assert work_of(config, SGD, "evaluation") == FORWARD * checkpoints * 1797
    assert work_of(config, SGD, "coherence") == 3 * FORWARD * checkpoints * (2 * 30 + 20)  # with redrawn labels too
    assert work_of(config, SGD, "coherence_m60") == 3 * FORWARD * checkpoints * (60 + 20)
    assert work_of(config, SGD, "coherence_m900") == 3 * FORWARD * checkpoints * (100 + 20)


def test_jobs_disk_and_hours_follow_from_the_study(config):
    rows = {row.stage: row for row in estimates(config, "cuda", ROOT / "nowhere")}
    assert {stage: row.jobs for stage, row in rows.items()} == {
        "train": 2 + 1, "evaluate": 2, "measure_coherence": 2, "measure_sample_size": 2,
    }  # fmt: skip
    # SGD: 6 checkpoints, 2 states with a momentum; RM3: 4 checkpoints, 1 state with two gradients.
    assert rows["train"].disk == 2600 * (6 + 2 * 2 + 4 + 3)
    assert rows["evaluate"].disk == 8 * 1797 * (6 + 4)
    work = 3 * FORWARD * 10 * (5 + 3)
    assert rows["train"].hours == pytest.approx((work / stated_rate(LINEAR, DIGITS, "cuda") + 3 * 5) / 3600)
    assert rows["train"].source.startswith("its operations and bytes, ")


def test_rates_come_from_benchmarks_of_the_device_where_there_are_some(config, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    row = {"model": "mlp", "batch": 100, "device": "cpu", "method": "plain", "seconds": 0.5}
    (tmp_path / "benchmarks/extraction-cpu.json").write_text(json.dumps([row]))
    train, *_ = estimates(config, "cpu", tmp_path)
    of_benchmark = 3 * 2 * (784 * 256 + 2 * 256 * 256 + 256 * 10) * 100 / 0.5 / 2  # two threads
    calls = 8 * PASS_SECONDS  # of eight updates, a pass each
    assert train.hours == pytest.approx((3 * FORWARD * 80 / of_benchmark + 15 + calls) / 3600)
    assert train.source == "benchmarks/ (mlp, cpu)"
    measured = next(row for row in estimates(config, "cpu", tmp_path) if row.stage == "measure_coherence")
    assert "its operations and bytes" in measured.source
    assert "its operations and bytes" in estimates(config, "cuda", tmp_path)[0].source


def test_measuring_on_a_gpu_takes_more_than_its_passes_and_float64_twice_that():
    passes, single, double = (
        rate_elsewhere(LINEAR, DIGITS, "cuda", ROOT / "nowhere", precision).flops_per_s
        for precision in (None, "float32", "float64")
    )
    assert passes / single == pytest.approx(1.7)
    assert single / double == pytest.approx(2)


def test_a_network_that_no_benchmark_has_is_as_far_from_what_is_stated_as_the_slowest_that_one_has(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    rows = [
        {"model": name, "batch": 64, "device": "cpu", "method": "plain", "seconds": 64 * seconds}
        for name, seconds in (("resnet18", 1), ("vgg13_bn", 0.001))
    ]
    (tmp_path / "benchmarks/extraction-cpu.json").write_text(json.dumps(rows))
    small, resnet = Size(0, 0, (3, 32, 32), 10), {"architecture": "resnet18"}
    cnn = {"architecture": "cnn", "channels": [8], "hidden": 9}
    found = rate_elsewhere(cnn, small, "cpu", tmp_path)
    of_resnet = 3 * network_of(resnet, small).flops / 1 / 2  # of a core, two threads
    expected = stated_rate(cnn, small, "cpu") * of_resnet / stated_rate(resnet, small, "cpu")
    assert found.flops_per_s == pytest.approx(expected)
    assert found.source == "its operations and bytes, by benchmarks/ (resnet18, vgg13_bn, cpu)"


def test_jobs_that_are_copies_start_at_once_and_m3_makes_a_pass_for_each_group(config, tmp_path):
    config["operational"] = {**config.get("operational", {}), "fork_jobs": True}
    config["optimizers"]["sgd"] = {"method": "m3", "lr": 1, "groups": 3}
    train, *_ = estimates(config, "cpu", tmp_path)
    start = COPY_SECONDS if sys.platform == "linux" else 5
    work = 3 * FORWARD * 80 / stated_rate(LINEAR, DIGITS, "cpu")
    passes = 3 * 5 + 3  # five updates with it, three with another optimiser
    assert train.hours == pytest.approx((work + 3 * start + passes * PASS_SECONDS) / 3600)


def test_earlier_jobs_of_the_study_have_the_first_word(config):
    folder = Path("results/digits/benchmarks")
    for rule in ("train", "train_from_3"):
        path = folder / rule / "digits/linear/clean/sgd/full/seed0.tsv"
        path.parent.mkdir(parents=True)
        path.write_text("s\th:m:s\n25.0\t0:00:25\n")
    train = estimates(config, "cpu", ROOT)[0]
    rate = 3 * FORWARD * 50 / (2 * 25 - 2 * 5)
    assert train.source == "2 earlier jobs of this study"
    assert train.hours == pytest.approx((3 * FORWARD * 80 / rate + 15) / 3600)


def test_the_plan_says_what_it_does_not_know(config):
    config["datasets"]["digits"] = {"source": "folder", "root": "nowhere", "resize": 8, "size": 8}
    text = describe(config, "cuda", ROOT)
    assert "digits: counted as ImageNet-1k (1,281,167 and 50,000 images); its folder was not looked at." in text
    # 1.3 million images at 6 or 4 checkpoints are evaluated in parts: one block of one shard, joined, and put in place.
    assert "Runs: 2. Jobs: 3 train, 6 evaluate, 2 measure_coherence, 2 measure_sample_size" in text


def test_parts_are_counted_with_the_jobs_that_put_them_together(config):
    config["datasets"]["digits"] = {"source": "mnist"}
    config["measurement"] |= {"sample_size": 50_000, "heldout_size": 10_000, "precision": "float32"}
    config["operational"] = {"checkpoints_per_job": 4, "examples_per_shard": 25_000}
    rows = {row.stage: row for row in estimates(config, "cuda", ROOT / "nowhere")}
    # SGD's 6 checkpoints are 2 blocks of 5 shards (labels are redrawn for 50,000 examples), 2 sums, 2 jobs that join;
    # RM3's 4 are 1 block of 3, 1 sum, 2.
    assert rows["measure_coherence"].jobs == (2 * 5 + 2 + 2) + (3 + 1 + 2)
    # Of 4 checkpoints in 5 shards: four groups' sums of 7,850 parameters, in float32.
    assert "Temporary: up to 3 MB" in describe(config, "cuda", ROOT / "nowhere")
    assert most_temporary_bytes(config) == 4 * 5 * 4 * 4 * 7850
    assert rows["evaluate"].jobs == 2  # 420,000 evaluations at most


def test_every_measurement_is_planned_in_parts_and_with_the_sums_of_its_groups(config):
    config["datasets"]["digits"] = {"source": "mnist"}
    config["experiments"] = ["label_noise", "contributions"]
    config["label_noise"]["labels"] = ["half_random"]
    config["measurement"] |= {"sample_size": 50_000, "heldout_size": 10_000, "precision": "float32"}
    config["contributions"] = {"optimizers": [], "null_worlds": 2}
    config["operational"] = {"checkpoints_per_job": 4, "examples_per_shard": 25_000}
    rows = {row.stage: row for row in estimates(config, "cuda", ROOT / "nowhere")}
    # 50,000 examples: SGD's 6 checkpoints are 2 blocks of 2 shards, 2 sums, 2 jobs that join; RM3's 4 are 1 block.
    assert rows["measure_contributions"].jobs == (2 * 2 + 2 + 2) + (2 + 1 + 2)
    # Of 4 checkpoints: coherence has four groups' sums of 7,850 parameters in 5 shards, contributions eight in 2.
    assert most_temporary_bytes(config) == 4 * 5 * 4 * 4 * 7850
    contributions, coherence = (memory_of(config, SGD, name, "cuda") for name in ("contributions", "coherence"))
    assert contributions - coherence == (8 - 4) * 4 * 7850


def test_winsorised_sgd_pays_for_the_gradient_of_every_example(config):
    plain = work_of(config, SGD, "train")
    config["optimizers"]["sgd"] = {"method": "winsorized", "lr": 1, "c": 20}
    assert work_of(config, SGD, "train") == 20 * plain
    # 10 examples: round(0.2 * 9) = 2 are clipped at each end, and the next one there is held too
    passed = 10 * example_bytes(LINEAR, (1, 8, 8), 10, "train")
    assert memory_of(config, SGD, "train", "cpu") == (2 + 2 * 3) * 2600 + 4 * 2**26 + passed


def test_m3_holds_the_gradients_of_its_groups_and_adam_keeps_two_averages(config):
    example = example_bytes(LINEAR, (1, 8, 8), 10, "train")
    # weights and their gradient, then what the optimiser has; and of 10 examples those that a pass takes
    for optimizer, weights, examples, work in (
        ({"method": "sgd", "lr": 1}, 2, 10, 1),
        ({"method": "sgd", "lr": 1, "momentum": 0.9}, 2 + 1, 10, 1),
        ({"method": "m3", "lr": 1, "groups": 5}, 2 + 4, 2, 1),
        ({"method": "m3_successive", "lr": 1, "groups": 3}, 2 + 2, 10, 3),
        ({"method": "adamw", "lr": 1}, 2 + 2, 10, 1),
    ):
        config["optimizers"]["sgd"] = optimizer
        assert memory_of(config, SGD, "train", "cpu") == weights * 2600 + examples * example
        assert work_of(config, SGD, "train") == work * 3 * FORWARD * 5 * 10


def test_evaluation_can_be_thinned_and_costs_as_much_less(config):
    whole = {row.stage: row for row in estimates(config, "cuda", ROOT / "nowhere")}
    assert result("evaluation").settings(config, SGD) == {"tf32": False}
    assert result("evaluation").settings({**config, "evaluation": {"every": 1}}, SGD) == {"tf32": False}
    config["evaluation"] = {"every": 4, "train_examples": 50}
    assert steps_of_result(config, SGD, "evaluation") == [0, 4, 5]  # of 0, 1, 2, 3, 4, 5
    assert steps_of_result(config, SGD, "coherence") == [0, 1, 2, 3, 4, 5]
    assert result("evaluation").settings(config, SGD) == {"tf32": False, "every": 4, "train_examples": 50, "seed": 0}
    assert work_of(config, SGD, "evaluation") == FORWARD * 3 * (50 + 1697)
    thinned = {row.stage: row for row in estimates(config, "cuda", ROOT / "nowhere")}
    assert thinned["evaluate"].disk == 8 * (50 + 1697) * (3 + 2)  # RM3 has the steps 0, 1, 2, 3
    assert {stage: row for stage, row in thinned.items() if stage != "evaluate"} == {
        stage: row for stage, row in whole.items() if stage != "evaluate"
    }
    (accuracy,) = planned_tables(config, ["accuracy"]).values()
    assert accuracy.loc[accuracy["optimizer"] == "sgd", "step"].unique().tolist() == [0, 4, 5]


def test_the_plan_says_how_many_processes_read_and_what_they_hold(config):
    config["operational"] = {"images_memory_mb": 2000, "workers": 14, "ranks": 16}
    assert "Readers" not in describe(config, "cuda", ROOT)
    config["datasets"]["digits"] = {"source": "folder", "root": "nowhere", "resize": 224, "size": 224}
    said = "a job that streams images (digits) starts up to 16 processes, which keep up to 4.3 GB in /dev/shm"
    assert said in describe(config, "cuda", ROOT)
    assert job_mb(config, SGD, 0, gpu=True) == 16 * BASE_MB + 4000 + 16 * 2**28 // 10**6


def test_memory_of_several_gpus_and_of_half_precision(config):
    config["operational"] = {"ranks": 4}
    example = example_bytes(LINEAR, (1, 8, 8), 10, "train")
    assert memory_of(config, SGD, "train", "cuda") == (3 + 1) * 2600 + 3 * example  # 10 examples by 4, gradients twice
    config["operational"], config["training"]["precision"] = {}, "bfloat16"
    half = example_bytes(LINEAR, (1, 8, 8), 10, "train", torch.bfloat16)
    assert memory_of(config, SGD, "train", "cuda") == 3 * 2600 + 1300 + 10 * half  # and a copy of the weights


def test_the_plan_says_where_batches_are_smaller_than_they_could_be(config):
    assert "at a time" not in describe(config, "cpu", ROOT)
    config["operational"] = {"cpu_batch_mb": 0.02, "gpu_batch_mb": 100}
    text = describe(config, "cpu", ROOT)
    # 20 kB: images of 256 bytes, logits and their softmax of 40 each, a label of 8, in float32
    assert "evaluate of linear on digits: 32 examples at a time, as many as fit in operational.cpu_batch_mb." in text
    assert "at a time" not in describe(config, "cuda", ROOT)


def test_contributions_and_the_gradients_of_easy_and_hard_examples_are_planned(config):
    config["experiments"] = ["label_noise", "easy_hard", "contributions", "difficulty_coherence"]
    config["label_noise"]["labels"] = ["half_random"]
    config["contributions"] = {"optimizers": [], "null_worlds": 2}
    config["easy_hard"] |= {"models": ["linear"], "optimizer": "sgd", "reference_seeds": [0], "seeds": [1]}
    rows = {row.stage: row for row in estimates(config, "cuda", ROOT / "nowhere")}
    assert rows["measure_contributions"].jobs == 2
    assert rows["measure_difficulty_coherence"].jobs == 1 + 3
    assert work_of(config, SGD, "contributions") == 3 * FORWARD * 6 * 30
    assert work_of(config, SGD, "difficulty_coherence") == 3 * FORWARD * 6 * 100  # 150, of which there are 100


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"source": "digits", "train_size": 720}, Size(720, 1077, (1, 8, 8), 10)),
        ({"source": "glyphs", "train_size": 9, "test_size": 7, "size": 16, "classes": 3}, Size(9, 7, (3, 16, 16), 3)),
        ({"source": "mnist", "train_size": None, "test_size": 50}, Size(60_000, 50, (1, 28, 28), 10)),
        ({"source": "cifar100"}, Size(50_000, 10_000, (3, 32, 32), 100)),
    ],
)
def test_the_size_of_a_data_set_is_known_from_its_settings(settings, expected):
    assert size_of(settings) == expected


def test_a_study_without_networks_says_so(config):
    plan = describe(config | {"experiments": ["toy"]}, "cpu", ROOT)
    assert plan == "Plan of the study digits: it trains no networks; its jobs take seconds."


def test_the_seconds_of_jobs_add_up_to_the_hours_of_their_stages(config):
    seconds = job_seconds(config, "cpu", ROOT)
    hours = {row.stage: row.hours for row in estimates(config, "cpu", ROOT)}
    assert seconds.keys() == {"train", "evaluation", "coherence", "coherence_m60", "coherence_m900"}
    of_run = {name.split("/")[3]: of_one for name, of_one in seconds["train"].items()}
    # SGD's 5 updates are 2 segments of 3 at most, RM3's 3 are one.
    assert 2 * of_run["sgd"] + of_run["rm3"] == pytest.approx(3600 * hours["train"], rel=1e-12)
    assert sum(seconds["coherence"].values()) == pytest.approx(3600 * hours["measure_coherence"], rel=1e-12)
    assert seconds["evaluation"].keys() == seconds["train"].keys()
