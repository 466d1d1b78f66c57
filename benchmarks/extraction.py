"""Seconds and memory of gradient statistics against plain training passes and other ways to per-example norms.

    python benchmarks/extraction.py [--json FILE] [--models resnet18 vgg13_bn mlp vit] [--rounds 7] [--sizes]

Every method gets the same model in eval mode and the same batch, and returns what is needed for m-coherence: the sum of
the gradients and the sum of their squared norms. The methods take turns, round after round, in one process, so that
whatever else the machine does hits all of them; the table gives medians. Peak memory is taken in a fresh process per
method, as the growth of its resident set over the state before the first pass (on a GPU: of allocated memory).

    plain      forward pass and backward pass of the summed loss: what one step of training has to do
    ours       one pass of mcoherence.gradients (what a call does for each batch)
    ours, one call   gradient_statistics on a single batch, its set-up and spot check of an example included
    vmap       vmap(grad) of torch.func over the whole model, rows reduced at once
    backpack   BatchL2Grad beside the gradient
    opacus     per-example gradients by hooks, rows reduced at once; opacus, ghost   norms without the rows
    torchjd    the Gram matrix of all examples' gradients, which tells more than the two sums

BackPACK, Opacus and TorchJD come with `make setup-tests`.
"""

import argparse
import itertools
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mcoherence import gradient_statistics
from mcoherence.gradients.batch.passes import Passes

Pass = Callable[[], object]
TURN_SECONDS = 0.2  # a turn lasts at least about this long
PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


def resnet18() -> tuple[nn.Module, Tensor]:
    """ResNet-18 with a 3x3 stem and no max pool, 32 images of 3x32x32."""
    from torchvision.models import resnet18 as torchvision_resnet18

    model = torchvision_resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model, torch.randn(32, 3, 32, 32)


def vgg13_bn() -> tuple[nn.Module, Tensor]:
    """VGG-13 with batch norm and one linear layer as its classifier, 32 images of 3x32x32."""
    from torchvision.models import vgg13_bn as torchvision_vgg13_bn

    model = torchvision_vgg13_bn(num_classes=10)
    model.avgpool = nn.Identity()
    model.classifier = nn.Linear(512, 10)
    return model, torch.randn(32, 3, 32, 32)


def mlp() -> tuple[nn.Module, Tensor]:
    """Three hidden layers of 256, 100 vectors of 784."""
    widths = (784, 256, 256, 256)
    hidden = [layer for d, p in itertools.pairwise(widths) for layer in (nn.Linear(d, p), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(256, 10)), torch.randn(100, 784)


def vit() -> tuple[nn.Module, Tensor]:
    """A vision transformer of 6 layers of width 192, 32 images of 3x32x32 in patches of 4."""
    from torchvision.models import VisionTransformer

    model = VisionTransformer(32, 4, 6, 3, 192, 768, num_classes=10)
    nn.init.normal_(model.heads.head.weight, std=0.02)  # torchvision's zeros would leave all other gradients zero
    return model, torch.randn(32, 3, 32, 32)


MODELS = {"resnet18": resnet18, "vgg13_bn": vgg13_bn, "mlp": mlp, "vit": vit}


def plain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Pass:
    """One forward and backward pass of the summed loss."""
    parameters = list(model.parameters())
    return lambda: torch.autograd.grad(PER_EXAMPLE(model(inputs), targets).sum(), parameters)


def ours(model: nn.Module, inputs: Tensor, targets: Tensor) -> Pass:
    """One batch of many."""
    passes = Passes(model, PER_EXAMPLE)

    def measure() -> object:
        with passes.capture.active():
            return passes.measure(inputs, targets)

    return measure


def ours_one_call(model: nn.Module, inputs: Tensor, targets: Tensor) -> Pass:
    """A whole call for a single batch: set-up, spot check of one example and the final identities included."""
    return lambda: gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])


def vmap(model: nn.Module, inputs: Tensor, targets: Tensor) -> Pass:
    """torch.func: vmap of grad over the whole model."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss_of_one(chosen: dict[str, Tensor], example: Tensor, target: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, chosen, (example.unsqueeze(0),))
        return PER_EXAMPLE(outputs, target.unsqueeze(0)).sum()

    rows_of = torch.func.vmap(torch.func.grad(loss_of_one), in_dims=(None, 0, 0))

    def measure() -> object:
        rows = rows_of(parameters, inputs, targets)
        return [(value.sum(0), value.square().sum(dtype=torch.float64)) for value in rows.values()]

    return measure


def backpack(model: nn.Module, inputs: Tensor, targets: Tensor) -> Pass:
    """BackPACK's BatchL2Grad beside the gradient of the summed loss."""
    from backpack import backpack as active
    from backpack import extend
    from backpack.extensions import BatchL2Grad

    extended, loss_fn = extend(model, use_converter=True), extend(nn.CrossEntropyLoss(reduction="sum"))

    def measure() -> object:
        extended.zero_grad()
        with active(BatchL2Grad()):
            loss_fn(extended(inputs), targets).backward()
        return [(p.grad, p.batch_l2.sum()) for p in extended.parameters()]

    return measure


def opacus(model: nn.Module, inputs: Tensor, targets: Tensor) -> Pass:
    """Opacus's per-example gradients by hooks, rows reduced at once."""
    from opacus.grad_sample import GradSampleModule

    wrapped = GradSampleModule(model, loss_reduction="sum", strict=False)
    wrapped.train()  # its hooks do nothing in eval mode; it refuses models with batch norm, where that would matter

    def measure() -> object:
        wrapped.zero_grad()
        PER_EXAMPLE(wrapped(inputs), targets).sum().backward()
        rows = [p.grad_sample for p in model.parameters()]
        return [(value.sum(0), value.square().sum(dtype=torch.float64)) for value in rows]

    return measure


def opacus_ghost(model: nn.Module, inputs: Tensor, targets: Tensor) -> Pass:
    """Opacus's norms of ghost clipping, that form no rows where a layer has a rule, beside the summed gradient."""
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping

    wrapped = GradSampleModuleFastGradientClipping(model, loss_reduction="sum", strict=False)
    wrapped.train()

    def measure() -> object:
        wrapped.zero_grad()
        PER_EXAMPLE(wrapped(inputs), targets).sum().backward()
        return [(p.grad, p._norm_sample.square().sum(dtype=torch.float64)) for p in model.parameters()]

    return measure


def torchjd(model: nn.Module, inputs: Tensor, targets: Tensor) -> Pass:
    """TorchJD's Gramian of the losses' Jacobian: its sum is |S|^2, its trace Q, both of the whole network."""
    from torchjd.autogram import Engine

    engine = Engine(model, batch_dim=None if _has_batch_norm(model) else 0)

    def measure() -> object:
        gramian = engine.compute_gramian(PER_EXAMPLE(model(inputs), targets))
        return gramian.sum(), gramian.trace()

    return measure


def _has_batch_norm(model: nn.Module) -> bool:
    """Whether there is batch norm, with which TorchJD takes a backward pass for each loss."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


METHODS = {
    "plain": plain,
    "ours": ours,
    "ours, one call": ours_one_call,
    "vmap": vmap,
    "backpack": backpack,
    "opacus": opacus,
    "opacus, ghost": opacus_ghost,
    "torchjd": torchjd,
}


def problem(name: str, device: str) -> tuple[nn.Module, Tensor, Tensor]:
    """(model in eval mode, inputs [n, ...], targets [n]) with fixed random numbers."""
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    return model.eval().to(device), inputs.to(device), torch.randint(0, 10, (len(inputs),), device=device)


def prepared(name: str, device: str) -> dict[str, Pass]:
    """One pass per method that is installed and can run the model; says which cannot."""
    passes = {}
    for method, prepare in METHODS.items():
        try:
            passes[method] = prepare(*problem(name, device))
            passes[method]()
        except ImportError as error:
            print(f"{name}: no row for {method}: {error}")
        except Exception as error:
            print(f"{name}: no row for {method}, which fails here: {type(error).__name__}: {str(error)[:100]}")
            passes.pop(method, None)
    return passes


def timed(passes: dict[str, Pass], rounds: int, device: str) -> dict[str, float]:
    """Median seconds of each pass over so many rounds, the passes taking turns; short ones repeat within a turn."""
    repeats = {method: max(1, int(TURN_SECONDS / _seconds(run, 1, device))) for method, run in passes.items()}
    seconds: dict[str, list[float]] = {method: [] for method in passes}
    for _ in range(rounds):
        for method, run in passes.items():
            seconds[method].append(_seconds(run, repeats[method], device))
    return {method: statistics.median(values) for method, values in seconds.items()}


def _seconds(run: Pass, repeats: int, device: str) -> float:
    """Seconds of one pass, the mean over so many in a row."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    _wait(device)
    return (time.perf_counter() - start) / repeats


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak_bytes(name: str, method: str, device: str, threads: int) -> int:
    """Growth of memory over the state before the first of three passes, in a fresh process.

    The method has run on the MLP before, so that what its first call imports is not counted.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_bytes, (name, method, device, threads))


def _peak_bytes(name: str, method: str, device: str, threads: int) -> int:
    torch.set_num_threads(threads)
    METHODS[method](*problem("mlp", device))()
    run = METHODS[method](*problem(name, device))
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the high-water mark starts anew, without what building the model took (Linux)
        before = _peak_resident_bytes()
    for _ in range(3):
        run()
    if device == "cuda":
        return torch.cuda.max_memory_allocated() - before
    return _peak_resident_bytes() - before


def _peak_resident_bytes() -> int:
    """High-water mark of this process's resident set; ru_maxrss would carry over that of the parent (Linux)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def by_sample_size(device: str, plain_seconds: float) -> list[dict[str, object]]:
    """Rows of one gradient_statistics call on 2, 4 and 8 batches of the ResNet: the cost is linear in m.

    Args:
        device: where to.
        plain_seconds: of one plain pass of one batch, for the ratio.
    """
    model, inputs, targets = problem("resnet18", device)
    passes = {n: lambda n=n: gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)] * n) for n in (2, 4, 8)}
    rows: list[dict[str, object]] = []
    for n, seconds in zip(passes, timed({str(n): run for n, run in passes.items()}, 3, device).values(), strict=True):
        m, ratio = n * len(inputs), seconds / (n * plain_seconds)
        rows.append(
            {
                "model": "resnet18", "batch": len(inputs), "device": device, "method": f"ours, one call, m = {m}",
                "seconds": seconds, "ratio_to_plain": ratio, "peak_bytes": None,
            }
        )  # fmt: skip
        print(f"resnet18  m={m:4d}  {seconds:8.3f} s  {seconds / m * 1e3:8.2f} ms an example  {ratio:6.2f} x")
    return rows


def main() -> None:
    """Print the table, and write it where --json says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="file to write the rows to")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--sizes", action="store_true", help="time three sample sizes too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, object]] = []
    for name in arguments.models:
        batch = len(problem(name, "cpu")[1])
        passes = prepared(name, arguments.device)
        seconds = timed(passes, arguments.rounds, arguments.device)
        del passes
        for method, median in seconds.items():
            ratio = median / seconds["plain"]
            peak = peak_bytes(name, method, arguments.device, arguments.threads)
            rows.append(
                {
                    "model": name, "batch": batch, "device": arguments.device, "method": method, "seconds": median,
                    "ratio_to_plain": ratio, "peak_bytes": peak,
                }
            )  # fmt: skip
            print(f"{name:10s} n={batch:4d}  {method:15s} {median:8.4f} s  {ratio:6.2f} x  {peak / 2**20:8.0f} MiB")
    if arguments.sizes:
        plain_passes = timed({"plain": plain(*problem("resnet18", arguments.device))}, 3, arguments.device)
        rows += by_sample_size(arguments.device, plain_passes["plain"])
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
