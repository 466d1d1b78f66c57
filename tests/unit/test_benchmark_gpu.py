"""benchmarks/gpu.py: it leans on public names alone, finds what is wrong, and keeps to its time."""

import ast
import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FILES = ("gpu", "gpu_correctness", "gpu_examples", "gpu_table", "gpu_timing")
# What a machine with a GPU is asked to have. Peers may be missing there.
THERE = {"torch", "torchvision", "numpy", "mcoherence"}
PEERS = {"backpack", "opacus", "transformers"}
PUBLIC = {
    "mcoherence": {
        "CoherenceMonitor", "example_statistics", "gradient_statistics", "GradientStatistics", "load_checkpoint",
    },
    "mcoherence.gradients.reference": {"per_example_gradients"},
    "mcoherence.models": {"build_model"},
    "mcoherence.models.memory": {"example_bytes"},
    "mcoherence.optim": {"M3", "RM3", "RA3", "WinsorizedSGD", "SGD", "SuccessiveM3"},
}  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture
def benchmark(monkeypatch):
    """The modules by name, as they find each other when gpu.py runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "path", [*sys.path])  # gpu.py adds to it
    yield {name: importlib.import_module(name) for name in FILES}
    for name in FILES:
        sys.modules.pop(name, None)


def imports(file):
    """(module, name imported from it or None) of every import in the file, wherever it stands."""
    for node in ast.walk(ast.parse((BENCHMARKS / f"{file}.py").read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("file", FILES)
def test_it_imports_public_names_and_nothing_that_may_be_missing(file):
    for module, name in imports(file):
        top = module.partition(".")[0]
        if top == "mcoherence":
            assert name in PUBLIC[module], f"{file}: from {module} import {name}"
        else:
            assert top in sys.stdlib_module_names | THERE | PEERS | set(FILES), f"{file}: import {module}"


def test_it_says_what_it_uses_of_the_library(benchmark):
    assert {module: set(names) for module, names in benchmark["gpu"].PUBLIC.items()} == PUBLIC
    assert benchmark["gpu"].missing() == []


def test_it_names_what_is_missing(benchmark, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcoherence.optim", None)  # an import of it then fails
    (line,) = benchmark["gpu"].missing()
    assert "mcoherence.optim" in line


def correctness(benchmark, *names, left=1e9):
    return list(benchmark["gpu_correctness"].correctness(CPU, lambda: left, names))


def test_right_statistics_pass(benchmark):
    rows = correctness(benchmark, "CNN, batch norm", "cross-attention")
    assert [(row["case"], row["setting"], row["passed"]) for row in rows] == [
        ("CNN, batch norm", "float64", True),
        ("CNN, batch norm", "float32", True),
        ("cross-attention", "float64", True),
        ("cross-attention", "float32", True),
    ]
    assert [row["whole_model"] for row in rows] == [[], [], [], []]


def measure_another_loss(module, name, monkeypatch):
    """The function measures a loss that is a thousandth larger: squares and products are two thousandths off."""
    right = getattr(module, name)
    monkeypatch.setattr(
        module, name, lambda model, loss, *rest, **more: right(model, lambda o, t: 1.001 * loss(o, t), *rest, **more)
    )


def test_wrong_statistics_fail(benchmark, monkeypatch):
    module = benchmark["gpu_correctness"]
    measure_another_loss(module, "gradient_statistics", monkeypatch)
    rows = correctness(benchmark, "MLP")
    assert [row["passed"] for row in rows] == [False, False]
    assert rows[0]["errors"]["groups mixed"] == pytest.approx(0.002001, rel=1e-6)


def test_a_network_that_breaks_is_a_row(benchmark, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(benchmark["gpu_correctness"], "gradient_statistics", broken)
    rows = correctness(benchmark, "MLP")
    assert [(row["passed"], row["note"]) for row in rows] == [(False, "RuntimeError: no such kernel")] * 2


def test_what_there_is_no_time_for_is_cut_and_says_so(benchmark):
    first, second = correctness(benchmark, "MLP", left=0.0)
    assert first["passed"] is True  # how long one takes is not known before
    assert (second["passed"], second["note"]) == (None, "cut: no time left to this section")


def examples_of(benchmark):
    network = benchmark["gpu_correctness"].NETWORKS["CNN, batch norm"]
    return benchmark["gpu_examples"].checked_examples(network, torch.float64, CPU)


def test_right_single_examples_pass(benchmark):
    assert examples_of(benchmark)["passed"] is True


def test_wrong_single_examples_fail(benchmark, monkeypatch):
    module = benchmark["gpu_examples"]
    measure_another_loss(module, "example_statistics", monkeypatch)
    row = examples_of(benchmark)
    assert row["passed"] is False
    assert row["errors"]["squared norms"] == pytest.approx(0.002001, rel=1e-6)


def test_a_monitor_that_changes_what_is_trained_fails(benchmark, monkeypatch):
    module = benchmark["gpu_examples"]
    right = module.CoherenceMonitor.__call__

    def drawing(monitor, step):
        torch.rand(1)  # moves the generator that dropout draws from
        return right(monitor, step)

    (row,) = module.monitoring(CPU, lambda: 1e9, small=True)
    assert row["passed"] is True
    monkeypatch.setattr(module.CoherenceMonitor, "__call__", drawing)
    (row,) = module.monitoring(CPU, lambda: 1e9, small=True)
    assert row["passed"] is False


DIGESTS = {"saved": "a", "loaded": "a", "whole": "b", "again": "b", "resumed": "b"}


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        ({}, True),
        ({"resumed": "c"}, False),
        ({"again": "c"}, False),
        ({"loaded": "c"}, False),
        ({"saved": "b", "loaded": "b"}, False),
        ({"error": "whole: RuntimeError: no deterministic kernel"}, False),
    ],
)
def test_a_run_is_resumed_when_all_its_bits_are_the_same(benchmark, change, passed):
    assert benchmark["gpu"].compared(DIGESTS | change, note="", cut=False)["passed"] is passed


def test_a_run_without_all_its_digests_failed_unless_time_was_short(benchmark):
    some = {"saved": "a", "whole": "b", "again": "b"}
    assert benchmark["gpu"].compared(some, note="ended with status 1", cut=False)["passed"] is False
    assert benchmark["gpu"].compared(some, note="cut", cut=True)["passed"] is None


def test_rows_are_on_disk_as_soon_as_they_are_known(benchmark, tmp_path):
    gpu, path = benchmark["gpu"], tmp_path / "rows.json"
    report = gpu.Report(path, gpu.machine(CPU, small=True))
    row = {
        "section": "correctness",
        "case": "MLP",
        "setting": "float64",
        "device": "cpu",
        "result": "|S|^2",
        "note": "",
        "passed": False,
    }
    report.add(row)
    content = json.loads(path.read_text())
    assert content["rows"] == [row]
    assert gpu.table(content).startswith("**A rehearsal: no figure here says anything of a GPU.**")
    assert gpu.table(content).splitlines()[-1] == "| correctness | MLP | float64 | cpu | \\|S\\|^2 | **FAILED** |"


def test_networks_of_the_table_are_measured_right_and_one_that_is_not_fails(benchmark, monkeypatch):
    module = benchmark["gpu_table"]
    monkeypatch.setattr(module, "SMALL_TABLE", ("small CNN, 8", "attention, causal mask"))
    monkeypatch.setattr(benchmark["gpu_timing"], "TURNS", 1)
    right = list(module.table(CPU, lambda: 1e9, small=True))
    assert [(row["case"], row["passed"]) for row in right] == [(name, True) for name in module.SMALL_TABLE]
    measure_another_loss(module, "gradient_statistics", monkeypatch)
    assert [row["passed"] for row in module.table(CPU, lambda: 1e9, small=True)] == [False, False]


def test_what_a_batch_takes_is_held_against_the_plan(benchmark, monkeypatch):
    module = benchmark["gpu_table"]
    monkeypatch.setattr(module, "peak_of", lambda run, device: (run(), 3 * 2**20))
    (row,) = module.plan(CPU, lambda: 1e9, small=True)
    assert row["peak_bytes"] / row["planned_bytes"] > 0.0
    assert f"{3 * 2**20 / row['planned_bytes']:.2f} of it: measured 3 MiB" in row["result"]


def test_every_network_of_the_table_takes_a_pass(benchmark):
    """The large ones, of torchvision, are what they are elsewhere."""
    module = benchmark["gpu_table"]
    own = (
        "ViT 6 x 192",
        "GPT 4 x 256, tied, t 128",
        "encoder, padding mask",
        "attention, float mask",
        "RNN",
        "MLP 3 x 256",
    )
    for name in own:
        entry = module.TABLE[name]
        assert entry.loss(entry.build()(entry.inputs(2)), entry.targets(2)).shape == (2,), name
