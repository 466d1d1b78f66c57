"""Seconds and memory of one update of each optimiser against SGD's, and of the training loop against a bare one.

    python benchmarks/training.py [--json FILE] [--rounds 7] [--batch 96] [--threads 2] [--device cpu] [--parts]

The network is ResNet-18 with a 3x3 stem, in training mode, on images of 3x32x32. An update is forward pass, backward
pass and step; all take the same examples per update, so that M3 and SuccessiveM3 make three passes over a third of the
batch each. The optimisers take turns, round after round, in one process, so that what else the machine does hits all
of them. Given are medians, and the median of each round's ratio to SGD. Peak memory is taken in a fresh process per
optimiser, as the growth of its resident set over the state before the first update (on a GPU: of allocated memory).

    --parts   seconds of the passes apart from the step: what is the optimiser's, and what the smaller passes' of M3
    loop      `mcoherence.training.loop.train`, with a small network, against forward, backward, step written out
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mcoherence.data.loading import LabelledExamples, Preprocessing, ResidentImageLoader, StoredImages
from mcoherence.models.build import build_model
from mcoherence.optim.methods import METHODS
from mcoherence.training.loop import train
from mcoherence.training.optimizer import make_optimizer
from mcoherence.training.settings import Execution, TrainingSettings

Run = Callable[[], object]
Row = dict[str, object]

OPTIMIZERS = {
    "sgd": {"method": "sgd", "lr": 0.01},
    "sgd, momentum": {"method": "sgd", "lr": 0.01, "momentum": 0.9},
    "rm3": {"method": "rm3", "lr": 0.01},
    "ra3": {"method": "ra3", "lr": 0.01},
    "m3": {"method": "m3", "lr": 0.01, "groups": 3},
    "m3_successive": {"method": "m3_successive", "lr": 0.01, "groups": 3},
}
# Small enough that what the loop adds to the passes shows.
LOOP_MODEL = {"architecture": "cnn", "channels": [16, 32], "hidden": 128, "batch_norm": True}


def resnet18() -> nn.Module:
    """ResNet-18 with a 3x3 stem and no max pool, ten classes."""
    from torchvision.models import resnet18 as torchvision_resnet18

    model = torchvision_resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def examples(size: int, device: str) -> tuple[Tensor, Tensor]:
    """(inputs [size, 3, 32, 32], labels [size]) of random numbers, on the device."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(size, 3, 32, 32, generator=generator)
    return inputs.to(device), torch.randint(0, 10, (size,), generator=generator).to(device)


def update_of(name: str, batch: int, device: str) -> tuple[Run, Callable[[], int]]:
    """(one update on `batch` examples, bytes that the optimiser keeps between updates)."""
    torch.manual_seed(0)
    model = resnet18().to(device).train()
    optimizer = make_optimizer(OPTIMIZERS[name], model)
    inputs, labels = examples(batch, device)
    method = METHODS[OPTIMIZERS[name]["method"]]
    number = method.mini_batches(OPTIMIZERS[name]) * method.groups(OPTIMIZERS[name])
    parts = list(zip(inputs.chunk(number), labels.chunk(number), strict=True))

    def kept_bytes() -> int:
        leaves = tree_leaves(optimizer.state_dict()["state"])
        return sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))

    return lambda: optimizer.step_on(parts, lambda x, y: F.cross_entropy(model(x), y)), kept_bytes


def timed(runs: dict[str, Run], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each run in each round, the runs taking turns; three rounds before go untimed."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 3):  # RM3 makes its first update in its third step
        for name, run in runs.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            if number >= 3:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def ratio(seconds: Iterable[float], reference: Iterable[float]) -> float:
    """Median over rounds of the ratio within a round, which a busy spell of the machine hits least."""
    return statistics.median(own / other for own, other in zip(seconds, reference, strict=True))


def by_optimizer(batch: int, rounds: int, threads: int, device: str) -> list[Row]:
    """Seconds, ratio to SGD and memory of one update of each optimiser."""
    prepared = {name: update_of(name, batch, device) for name in OPTIMIZERS}
    seconds = timed({name: run for name, (run, _) in prepared.items()}, rounds, device)
    kept = {name: kept_bytes() for name, (_, kept_bytes) in prepared.items()}
    del prepared
    rows: list[Row] = []
    for name, values in seconds.items():
        peak = peak_bytes(name, batch, device, threads)
        median, to_sgd = statistics.median(values), ratio(values, seconds["sgd"])
        rows.append(
            {
                "what": "update", "model": "resnet18", "batch": batch, "device": device, "threads": threads,
                "optimizer": name, "seconds": median, "ratio_to_sgd": to_sgd,
                "kept_bytes": kept[name], "peak_bytes": peak,
            }
        )  # fmt: skip
        print(
            f"update  {name:15s} {median:8.4f} s  {to_sgd:6.3f} x  keeps {kept[name] / 2**20:5.0f} MiB"
            f"  peak {peak / 2**20:6.0f} MiB"
        )
    return rows


def peak_bytes(name: str, batch: int, device: str, threads: int) -> int:
    """Growth of memory over the state before the first of four updates, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_bytes, (name, batch, device, threads))


def _peak_bytes(name: str, batch: int, device: str, threads: int) -> int:
    torch.set_num_threads(threads)
    run, _ = update_of(name, batch, device)
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the high-water mark starts anew, without what building the model took (Linux)
        before = _peak_resident_bytes()
    for _ in range(4):
        run()
    if device == "cuda":
        return torch.cuda.max_memory_allocated() - before
    return _peak_resident_bytes() - before


def _peak_resident_bytes() -> int:
    """High-water mark of this process's resident set; ru_maxrss would carry over that of the parent (Linux)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def by_part(batch: int, rounds: int, threads: int, device: str) -> list[Row]:
    """Seconds of passes without a step, over the batch whole and in thirds, and of steps on gradients at hand."""
    torch.manual_seed(0)
    model = resnet18().to(device).train()
    inputs, labels = examples(batch, device)

    def passes(parts: int) -> Run:
        def run() -> None:
            for part, part_labels in zip(inputs.chunk(parts), labels.chunk(parts), strict=True):
                model.zero_grad()
                F.cross_entropy(model(part), part_labels).backward()

        return run

    def step_of(name: str) -> Run:
        twin = resnet18().to(device)
        optimizer = make_optimizer(OPTIMIZERS[name], twin)
        gradients = [[torch.randn_like(p) for p in twin.parameters()] for _ in range(3)]

        def closure_of(group: list[Tensor]) -> Callable[[], Tensor]:
            def closure() -> Tensor:
                for p, gradient in zip(twin.parameters(), group, strict=True):
                    p.grad = gradient
                return inputs.new_zeros(())

            return closure

        closures = [closure_of(group) for group in gradients]
        if name == "m3":
            return lambda: optimizer.step(closures)
        calls = closures if name == "m3_successive" else closures[:1]
        return lambda: [optimizer.step(closure) for closure in calls]

    runs = {"passes, whole": passes(1), "passes, thirds": passes(3)}
    runs |= {f"step, {name}": step_of(name) for name in OPTIMIZERS}
    seconds = timed(runs, rounds, device)
    whole, rows = seconds["passes, whole"], []
    for name, values in seconds.items():
        median, share = statistics.median(values), ratio(values, whole)
        rows.append(
            {
                "what": "part", "model": "resnet18", "batch": batch, "device": device, "threads": threads,
                "part": name, "seconds": median, "ratio_to_passes": share,
            }
        )  # fmt: skip
        print(f"part    {name:22s} {median:8.4f} s  {share:6.4f} of the passes")
    return rows


def loop(batch: int, updates: int) -> TrainingSettings:
    """The settings that the training loop is timed with: no checkpoint but the last."""
    sgd = {"method": "sgd", "lr": 0.01}
    return TrainingSettings(LOOP_MODEL, sgd, 1, 1, batch, "float32", False, 0, updates, (updates,), seed=0)


def train_with_our_loop(batch: int, updates: int, inputs: Tensor, labels: Tensor, device: str) -> None:
    """`mcoherence.training.loop.train` as it is called by the rule, less reading and writing files."""
    with contextlib.redirect_stderr(io.StringIO()):  # the progress bar
        train(loop(batch, updates), resident(inputs, labels), Execution(torch.device(device)), lambda *_: None)


def resident(inputs: Tensor, labels: Tensor) -> LabelledExamples:
    """Inputs [N, C, H, W] of ten classes and labels [N] as the loop takes them."""
    stored = StoredImages(Path(), "train", np.arange(len(inputs)), tuple(inputs.shape[1:]), 10)
    preprocessing = Preprocessing(torch.zeros(0, device=inputs.device))
    return LabelledExamples(ResidentImageLoader(stored, preprocessing, inputs), labels)


def train_with_a_bare_loop(batch: int, updates: int, inputs: Tensor, labels: Tensor, device: str) -> None:
    """Forward, backward, step, on data that lie on the device; the next batch is the next slice."""
    torch.manual_seed(0)
    model = build_model(LOOP_MODEL, (3, 32, 32), 10).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    per_epoch = len(inputs) // batch
    for number in range(updates):
        start = number % per_epoch * batch
        optimizer.zero_grad()
        F.cross_entropy(model(inputs[start : start + batch]), labels[start : start + batch]).backward()
        optimizer.step()


def by_loop(batch: int, rounds: int, threads: int, device: str, updates: int = 40) -> list[Row]:
    """Examples per second of the training loop and of a bare one, and the ratio of the two."""
    inputs, labels = examples(20 * batch, device)
    runs = {
        "bare": lambda: train_with_a_bare_loop(batch, updates, inputs, labels, device),
        "ours": lambda: train_with_our_loop(batch, updates, inputs, labels, device),
    }
    seconds = timed(runs, rounds, device)
    rows: list[Row] = []
    for name, values in seconds.items():
        throughput, to_bare = batch * updates / statistics.median(values), ratio(seconds["bare"], values)
        rows.append(
            {
                "what": "loop", "model": "cnn", "batch": batch, "device": device, "threads": threads, "loop": name,
                "examples_per_second": throughput, "throughput_ratio_to_bare": to_bare,
            }
        )  # fmt: skip
        print(f"loop    {name:15s} {throughput:8.0f} examples/s  {to_bare:6.3f} of the bare loop")
    return rows


def main() -> None:
    """Print the tables, and write them where --json says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="file to write the rows to")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=96, help="examples per update, a multiple of 3")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--parts", action="store_true", help="time passes and steps apart too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    own = (arguments.batch, arguments.rounds, arguments.threads, arguments.device)
    rows = by_optimizer(*own)
    rows += by_part(*own) if arguments.parts else []
    rows += by_loop(*own)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
