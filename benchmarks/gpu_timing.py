"""Seconds and memory of gradient statistics against plain training passes, and of optimisers against SGD; for gpu.py.

The methods of a table take turns in one process, so that whatever else the machine does, and the clock of a warm GPU,
hits all of them alike; given are medians, and medians of the ratios within a turn. The device is waited for before and
after everything that is timed. Peak memory is that of allocated memory over the state before, with the weights, the
inputs and the other methods' networks in place.
"""

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision import models

from mcoherence import gradient_statistics
from mcoherence.optim import M3, RA3, RM3, SGD, SuccessiveM3, WinsorizedSGD

Row = dict[str, Any]
Run = Callable[[], Any]
Left = Callable[[], float]
PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
TURNS = 7  # at most; fewer where time is short, and the row says how many
FEW, MANY = 1, 5  # batches of the two calls between which the cost of one more batch is the slope
CUT = "cut: no time left to this section"
TF32_ROUNDING = 2e-2  # relative, of |S|^2; what the library itself allows for


@dataclass(frozen=True)
class Task:
    """A network and the batch to measure it with.

    build: makes the network.
    side: height and width of an image.
    batch: examples; halved until a plain pass and ours have room.
    """

    build: Callable[[], nn.Module]
    side: int
    batch: int


def vit_b_16() -> nn.Module:
    """ViT-B/16; torchvision's zeros in the last layer would leave all other gradients zero."""
    model = models.vit_b_16()
    nn.init.normal_(model.heads.head.weight, std=0.02)
    return model


def small_cnn() -> nn.Module:
    """Three convolutions with batch norm."""
    widths = (3, 16, 32, 32)
    layers = [
        (nn.Conv2d(d, p, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(p), nn.ReLU())
        for d, p in itertools.pairwise(widths)
    ]
    return nn.Sequential(*itertools.chain(*layers), nn.Flatten(), nn.Linear(32 * 16, 1000))


def small_vit() -> nn.Module:
    """A vision transformer of two layers of width 48."""
    model = models.VisionTransformer(32, 8, 2, 4, 48, 96)
    nn.init.normal_(model.heads.head.weight, std=0.02)
    return model


TASKS = {"ResNet-50": Task(models.resnet50, 224, 128), "ViT-B/16": Task(vit_b_16, 224, 128)}
SMALL_TASKS = {"small CNN": Task(small_cnn, 32, 8), "small ViT": Task(small_vit, 32, 8)}


def allow_tf32(allowed: bool) -> None:
    """Let matrix products and convolutions in float32 use TF32, or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def float32_errors(device: torch.device) -> dict[str, float]:
    """Relative errors of a matrix product and of a convolution in float32 as they are now: 1e-4 and more with TF32."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator).to(device) for _ in range(2))
    images, kernels = (
        torch.randn(shape, generator=generator).to(device) for shape in ((4, 64, 16, 16), (64, 64, 3, 3))
    )

    def error(found: Tensor, exact: Tensor) -> float:
        return float((found.double() - exact).norm() / exact.norm())

    return {
        "product": error(a @ b, a.double() @ b.double()),
        "convolution": error(F.conv2d(images, kernels), F.conv2d(images.double(), kernels.double())),
    }


def wait(device: torch.device) -> None:
    """Until the device has done all it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(run: Run, device: torch.device) -> float:
    """Seconds of one run.

    A run that had to ask the GPU's driver for memory, which another method's runs may have taken, is timed again.
    """
    for _ in range(3):
        wait(device)
        asked, start = driver_allocations(device), time.perf_counter()
        run()
        wait(device)
        seconds = time.perf_counter() - start
        if driver_allocations(device) == asked:
            break
    return seconds


def driver_allocations(device: torch.device) -> int:
    """How often the driver has been asked for memory so far; 0 on a CPU."""
    return int(torch.cuda.memory_stats(device).get("num_device_alloc", 0)) if device.type == "cuda" else 0


def free(device: torch.device) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_of(run: Run, device: torch.device) -> tuple[Any, int | None]:
    """(what the run returns, growth of allocated memory in bytes at its highest; None on a CPU)."""
    if device.type != "cuda":
        return run(), None
    wait(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    value = run()
    wait(device)
    return value, torch.cuda.max_memory_allocated(device) - before


def in_turns(
    runs: Mapping[str, Run], device: torch.device, left: Left, may_fail: Collection[str] = ()
) -> dict[str, list[float]]:
    """Seconds of each run in each turn: one turn at least, and no further one that would take longer than is left.

    A run that may fail and has no room beside the others is left out.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    longest = 0.0
    for _ in range(TURNS):
        if longest and left() < 1.2 * longest:
            break
        start = time.monotonic()
        for name in tuple(seconds):
            try:
                seconds[name].append(seconds_of(runs[name], device))
            except torch.OutOfMemoryError:
                if name not in may_fail:
                    raise
                del seconds[name]
        longest = max(longest, time.monotonic() - start)
    return seconds


def median_ratio(own: Sequence[float], other: Sequence[float]) -> float:
    """Median over the turns of the ratio within a turn."""
    return statistics.median(a / b for a, b in zip(own, other, strict=True))


def failure(error: Exception) -> Row:
    """Verdict and note of what broke; too little memory is no mistake of anybody's."""
    if isinstance(error, torch.OutOfMemoryError):
        return {"passed": None, "note": "out of memory"}
    return {"passed": False, "note": f"{type(error).__name__}: {str(error)[:300]}"}


def mebibytes(count: int | None) -> str:
    """The bytes as text; a dash where they were not measured."""
    return "—" if count is None else f"{count / 2**20:.0f} MiB"


# --- extraction -------------------------------------------------------------------------------------------------------

# A method's pass over one batch returns (sum of gradients, sum of |g_i|^2 or None) per parameter.
Sums = list[tuple[Tensor, Tensor | None]]


def plain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Run:
    """One forward and backward pass of the summed loss."""
    parameters = list(model.parameters())

    def run() -> Sums:
        return [(g, None) for g in torch.autograd.grad(PER_EXAMPLE(model(inputs), targets).sum(), parameters)]

    return run


def ours(model: nn.Module, inputs: Tensor, targets: Tensor, batches: int = FEW) -> Run:
    """One call for so many batches, in TF32 where the process is set to it."""
    tf32 = torch.backends.cuda.matmul.allow_tf32
    return lambda: gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)] * batches, tf32=tf32)


def vmap(model: nn.Module, inputs: Tensor, targets: Tensor) -> Run:
    """torch.func: vmap of grad over the whole model."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss_of_one(chosen: dict[str, Tensor], example: Tensor, target: Tensor) -> Tensor:
        outputs = torch.func.functional_call(model, chosen, (example.unsqueeze(0),))
        return PER_EXAMPLE(outputs, target.unsqueeze(0)).sum()

    rows_of = torch.func.vmap(torch.func.grad(loss_of_one), in_dims=(None, 0, 0))

    def run() -> Sums:
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no batching rule and would run one by one
            rows = rows_of(parameters, inputs, targets)
        return [(value.sum(0), value.square().sum(dtype=torch.float64)) for value in rows.values()]

    return run


def backpack(model: nn.Module, inputs: Tensor, targets: Tensor) -> Run:
    """BackPACK's BatchL2Grad beside the gradient of the summed loss."""
    from backpack import backpack as active
    from backpack import extend
    from backpack.extensions import BatchL2Grad

    extended, loss_fn = extend(model, use_converter=True), extend(nn.CrossEntropyLoss(reduction="sum"))

    def run() -> Sums:
        extended.zero_grad()
        with active(BatchL2Grad()):
            loss_fn(extended(inputs), targets).backward()
        found = [(p.grad, p.batch_l2.sum()) for p in extended.parameters()]
        for p in extended.parameters():
            p.grad = None
            del p.batch_l2
        return found

    return run


def opacus(model: nn.Module, inputs: Tensor, targets: Tensor) -> Run:
    """Opacus's per-example gradients by hooks, rows reduced at once."""
    from opacus.grad_sample import GradSampleModule

    wrapped = GradSampleModule(model, loss_reduction="sum", strict=False)
    wrapped.train()  # its hooks do nothing in eval mode; it refuses models with batch norm, where that would matter

    def run() -> Sums:
        PER_EXAMPLE(wrapped(inputs), targets).sum().backward()
        rows = [p.grad_sample for p in model.parameters()]
        found = [(value.sum(0), value.square().sum(dtype=torch.float64)) for value in rows]
        for p in model.parameters():
            p.grad, p.grad_sample = None, None
        return found

    return run


PLAIN = "plain forward + summed-loss backward"
ONE_BATCH, MANY_BATCHES = "ours, one call for 1 batch", f"ours, one call for {MANY} batches"
PEERS = {"vmap(grad) of torch.func": vmap, "BackPACK, BatchL2Grad": backpack, "Opacus": opacus}


@dataclass(frozen=True)
class Problem:
    """A network in eval mode, inputs [n, 3, H, W] and targets [n]."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Prepared:
    """A method that has run: its pass, the examples and batches in it, its peak in bytes, what there is to note."""

    run: Run
    examples: int
    batches: int
    peak: int | None
    note: str = ""


def problem(task: Task, batch: int, device: torch.device) -> Problem:
    """The first so many of the same random examples, whatever the batch."""
    torch.manual_seed(0)
    model = task.build().eval().to(device)
    inputs, targets = torch.randn(task.batch, 3, task.side, task.side), torch.randint(0, 1000, (task.batch,))
    return Problem(model, inputs[:batch].to(device), targets[:batch].to(device))


def plain_and_ours(task: Task, device: torch.device) -> dict[str, Prepared]:
    """Plain passes and ours at the largest of the task's batch and its halves that has room.

    Raises:
        torch.OutOfMemoryError: not even one example has.
    """
    batch = task.batch
    while True:
        try:
            return _plain_and_ours(task, batch, device)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        free(device)
        batch //= 2


def _plain_and_ours(task: Task, batch: int, device: torch.device) -> dict[str, Prepared]:
    given = problem(task, batch, device)
    parts = (given.model, given.inputs, given.targets)
    plain(*parts)()  # what the device's libraries take at their first call is not the method's
    runs = {PLAIN: (plain(*parts), 1), ONE_BATCH: (ours(*parts, FEW), FEW), MANY_BATCHES: (ours(*parts, MANY), MANY)}
    prepared = {}
    for name, (run, batches) in runs.items():
        _, peak = peak_of(run, device)
        prepared[name] = Prepared(run, batch * batches, batches, peak)
    return prepared


def peer(name: str, task: Task, batch: int, device: torch.device, left: Left) -> tuple[Prepared | None, str]:
    """(the method at the largest of a sixteenth, a quarter and all of the batch that has room and time, why not)."""
    prepared, reason = None, ""
    for examples in sorted({max(1, batch // part) for part in (16, 4, 1)}):
        if prepared is not None and seconds_of(prepared.run, device) * examples / prepared.examples > left() / 8:
            reason = "a larger batch takes too long here"
            break
        try:
            run, peak, difference = _measured_peer(name, task, examples, device)
            prepared = Prepared(run, examples, 1, peak, f"its Q differs from ours by {difference:.1e}")
        except ImportError as error:
            return None, f"not installed ({error})"
        except torch.OutOfMemoryError:
            reason = f"out of memory with {examples}"
        except Exception as error:
            return None, f"cannot run this network ({type(error).__name__}: {str(error).splitlines()[0][:120]})"
        free(device)  # the exception held on to the tensors
        if reason:
            break
    return prepared, reason


def _measured_peer(name: str, task: Task, examples: int, device: torch.device) -> tuple[Run, int | None, float]:
    """(pass, peak in bytes, relative difference of its Q from ours), once it has run."""
    given = problem(task, examples, device)
    sum_sq = ours(given.model, given.inputs, given.targets)().sum_sq_norm()
    run = PEERS[name](given.model, given.inputs, given.targets)
    found, peak = peak_of(run, device)
    return run, peak, abs(sum(float(squared) for _, squared in found) - sum_sq) / sum_sq


def extraction(device: torch.device, left: Left, small: bool) -> Iterator[Row]:
    """Rows of every network and method, without TF32 and with it where the device has it."""
    tasks = SMALL_TASKS if small else TASKS
    precisions = {"float32": False} | ({"TF32": True} if device.type == "cuda" else {})
    plans = list(itertools.product(tasks, precisions))
    for number, (name, precision) in enumerate(plans):
        end = time.monotonic() + left() / (len(plans) - number)
        allow_tf32(precisions[precision])
        try:
            yield from _extraction_of(name, tasks[name], precision, device, lambda end=end: end - time.monotonic())
        except Exception as error:
            yield {"case": name, "setting": precision, "result": ""} | failure(error)
        finally:
            allow_tf32(False)
        free(device)


def _extraction_of(name: str, task: Task, precision: str, device: torch.device, left: Left) -> Iterator[Row]:
    if left() < 10.0:
        yield {"case": name, "setting": precision, "passed": None, "result": "", "note": CUT}
        return
    prepared = plain_and_ours(task, device)
    batch = prepared[PLAIN].examples
    case = {"case": f"{name}, {batch} examples", "batch": batch, "precision": precision}
    for other in PEERS:
        method, reason = peer(other, task, batch, device, left) if left() > 10.0 else (None, CUT)
        if method is None:
            empty: Row = {"method": other, "passed": None, "result": "", "note": reason}
            yield case | {"setting": f"{precision}, {other}"} | empty
        else:
            prepared[other] = replace(method, note=method.note + (f"; {reason}" if reason else ""))
        free(device)
    seconds = in_turns({method: each.run for method, each in prepared.items()}, device, left, may_fail=PEERS)
    plain_seconds, errors = seconds[PLAIN], float32_errors(device)
    for method, each in prepared.items():
        if method not in seconds:
            gone = {"passed": None, "result": "", "note": "out of memory beside the other methods"}
            yield case | {"setting": f"{precision}, {method}", "method": method} | gone
            continue
        own = [value * batch / each.examples for value in seconds[method]]  # of a batch, however many a pass takes
        median, ratio = statistics.median(own), median_ratio(own, plain_seconds)
        smaller = f" (passes of {each.examples})" if each.examples < batch else ""
        yield case | {
            "setting": f"{precision}, {method}", "method": method, "examples_of_a_pass": each.examples,
            "seconds_per_batch": median, "ratio_to_plain": ratio, "turns": len(own), "peak_bytes": each.peak,
            "float32_errors": errors, "passed": None, "note": each.note,
            "result": f"{median:.4f} s a batch{smaller}, {ratio:.2f} x plain, peak {mebibytes(each.peak)} "
            f"({len(own)} turns)",
        }  # fmt: skip
    yield case | _batch_of_a_sweep(seconds, precision, prepared)


def _batch_of_a_sweep(seconds: Mapping[str, list[float]], precision: str, prepared: Mapping[str, Prepared]) -> Row:
    """The row of one more batch in a call, and of what a call costs besides; |S|^2 is held against the plain pass's."""
    pairs = list(zip(seconds[ONE_BATCH], seconds[MANY_BATCHES], strict=True))
    slopes = [(many - few) / (MANY - FEW) for few, many in pairs]
    median, ratio = statistics.median(slopes), median_ratio(slopes, seconds[PLAIN])
    overhead = statistics.median(few - FEW * slope for (few, _), slope in zip(pairs, slopes, strict=True))
    squared = sum(float(gradient.double().square().sum()) for gradient, _ in prepared[PLAIN].run())
    difference = abs(prepared[ONE_BATCH].run().sq_norm_of_sum() - squared) / squared
    peak = prepared[MANY_BATCHES].peak
    return {
        "setting": f"{precision}, **ours, a batch of a sweep**", "method": "ours, a batch of a sweep",
        "seconds_per_batch": median, "ratio_to_plain": ratio, "overhead_of_a_call": overhead, "turns": len(slopes),
        "peak_bytes": peak, "difference_of_squared_sum": difference, "passed": difference <= TF32_ROUNDING,
        "note": f"|S|^2 differs from that of the plain pass by {difference:.1e}",
        "result": f"{median:.4f} s a batch, {ratio:.2f} x plain, peak {mebibytes(peak)}; a call costs {overhead:.4f} s "
        "besides",
    }  # fmt: skip


# --- training ---------------------------------------------------------------------------------------------------------

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]
OPTIMIZERS: dict[str, MakeOptimizer] = {
    "SGD": lambda model: SGD(model.parameters(), lr=0.01),
    "SGD, momentum": lambda model: SGD(model.parameters(), lr=0.01, momentum=0.9),
    "RM3": lambda model: RM3(model.parameters(), lr=0.01),
    "RA3": lambda model: RA3(model.parameters(), lr=0.01),
    "M3": lambda model: M3(model.parameters(), lr=0.01),
    "SuccessiveM3": lambda model: SuccessiveM3(model.parameters(), lr=0.01),
}
GROUPS, IN_GROUPS = 3, ("M3", "SuccessiveM3")  # three passes over a third of the batch each


def one_update(
    optimizer: torch.optim.Optimizer,
    parts: Sequence[tuple[Tensor, Tensor]],
    mean_loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """One step of M3 with a closure for each part, or one step after the other of any other optimiser."""

    def closure_of(inputs: Tensor, targets: Tensor) -> Callable[[], Tensor]:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = mean_loss(inputs, targets)
            loss.backward()
            return loss

        return closure

    closures = [closure_of(*part) for part in parts]
    if isinstance(optimizer, M3):
        optimizer.step(closures)
    else:
        for closure in closures:
            optimizer.step(closure)


def tensors_in(state: Any) -> Iterator[Tensor]:
    """All tensors of a state_dict, whatever it is nested in."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping | list | tuple):
        for value in state.values() if isinstance(state, Mapping) else state:
            yield from tensors_in(value)


@dataclass(frozen=True)
class Trained:
    """An optimiser at work: one update, the optimiser, the peak of an update in bytes."""

    update: Run
    optimizer: torch.optim.Optimizer
    peak: int | None = None


def training(device: torch.device, left: Left, small: bool) -> Iterator[Row]:
    """Rows of every optimiser, and of winsorised SGD on a small network."""
    case, build, side, batch = "ResNet-50", models.resnet50, 224, 192
    if left() < 40.0:
        case, build = "ResNet-18", models.resnet18
    if small:
        case, build, side, batch = "small CNN", small_cnn, 32, 12
    end = time.monotonic() + 0.8 * left()
    yield from _trained(
        f"{case}, bf16, channels_last, {batch} examples an update",
        {name: partial(_update_of, name, build, side, batch, device) for name in OPTIMIZERS},
        batch, device, lambda: end - time.monotonic(),
    )  # fmt: skip
    free(device)
    yield from _trained(
        "small CNN, group norm, float32, 100 examples an update",
        {name: partial(_update_of_small_network, name, device) for name in ("SGD", WINSORIZED)},
        100, device, left,
    )  # fmt: skip


def _trained(
    case: str, makers: Mapping[str, Callable[[], Trained]], batch: int, device: torch.device, left: Left
) -> Iterator[Row]:
    """A row for each optimiser, in turns; for one that breaks too."""
    if left() < 5.0:
        yield {"case": case, "setting": "", "passed": None, "result": "", "note": CUT}
        return
    trained: dict[str, Trained] = {}
    for name, make in makers.items():
        try:
            made = make()
            for _ in range(GROUPS):  # RM3 makes its first update in its third step
                made.update()
            trained[name] = replace(made, peak=peak_of(made.update, device)[1])
        except Exception as error:
            yield {"case": case, "setting": name, "result": ""} | failure(error)
    seconds = in_turns({name: each.update for name, each in trained.items()}, device, left)
    for name, own in seconds.items():
        kept = sum(tensor.nbytes for tensor in tensors_in(trained[name].optimizer.state_dict()["state"]))
        throughput, ratio = batch / statistics.median(own), median_ratio(seconds.get("SGD", own), own)
        yield {
            "case": case, "setting": name, "images_per_second": throughput, "throughput_ratio_to_sgd": ratio,
            "seconds": statistics.median(own), "turns": len(own), "kept_bytes": kept, "peak_bytes": trained[name].peak,
            "passed": None, "note": "",
            "result": f"{throughput:.0f} images/s, {ratio:.3f} of SGD's; keeps {mebibytes(kept)}, "
            f"peak {mebibytes(trained[name].peak)} ({len(own)} turns)",
        }  # fmt: skip


def _update_of(name: str, build: Callable[[], nn.Module], side: int, batch: int, device: torch.device) -> Trained:
    """An optimiser and a network in bf16 autocast and channels_last."""
    torch.manual_seed(0)
    model = build().to(device, memory_format=torch.channels_last).train()
    optimizer = OPTIMIZERS[name](model)
    parts = GROUPS if name in IN_GROUPS else 1
    inputs = torch.randn(batch, 3, side, side).to(device, memory_format=torch.channels_last)
    targets = torch.randint(0, 1000, (batch,)).to(device)

    def mean_loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return F.cross_entropy(model(x), y)

    split = list(zip(inputs.chunk(parts), targets.chunk(parts), strict=True))
    return Trained(partial(one_update, optimizer, split, mean_loss), optimizer)


WINSORIZED = "WinsorizedSGD, c = 2"


def _update_of_small_network(name: str, device: torch.device) -> Trained:
    """SGD or winsorised SGD, and a small network without batch norm."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(100, 3, 32, 32).to(device), torch.randint(0, 10, (100,)).to(device)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2),
        nn.GroupNorm(4, 32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    ).to(device)  # fmt: skip

    def mean_loss(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x), y)

    if name == WINSORIZED:
        winsorized = WinsorizedSGD(model.parameters(), lr=0.01, c=2, model=model)
        return Trained(partial(winsorized.step, mean_loss, inputs, targets), winsorized)
    sgd = SGD(model.parameters(), lr=0.01)
    return Trained(partial(one_update, sgd, [(inputs, targets)], mean_loss), sgd)
