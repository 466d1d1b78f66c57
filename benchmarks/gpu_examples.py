"""Single examples and the monitor on one device; a part of gpu.py.

Index letters: n examples.

examples: |g_i|^2 and g_i . S of every example of the networks of gpu_correctness.py against the loop over single
examples, in float64 and in float32, then seconds against the statistics of the sample alone. The largest error is

    |g_i|^2   relative to itself
    g_i . S   relative to |g_i| |S|, by example of the whole model

monitor: whether training in float16 with a gradient scaler ends in the same bits with a monitor as without, and which
share of the training it takes.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from gpu_correctness import NETWORKS, PER_EXAMPLE, TOLERANCE, Network, mixed_batches, problem, state_of
from gpu_timing import CUT, TASKS, Left, failure, free, in_turns, mebibytes, median_ratio, peak_of, small_cnn
from torch import Tensor, nn
from torchvision.models import resnet18

from mcoherence import CoherenceMonitor, example_statistics, gradient_statistics
from mcoherence.gradients.reference import per_example_gradients

Row = dict[str, Any]

# --- single examples --------------------------------------------------------------------------------------------------


def expected_values(rows: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(|g_i|^2, g_i . S, |g_i| |S|), float64 [n] each, of the loop's gradients {parameter name: [n, *shape]}."""
    flat = torch.cat([gradients.flatten(1).double() for gradients in rows.values()], dim=1)
    total = flat.sum(dim=0)
    sq_norms = flat.square().sum(dim=1)
    return sq_norms.cpu(), (flat @ total).cpu(), (sq_norms.sqrt() * total.norm()).cpu()


def checked_examples(network: Network, dtype: torch.dtype, device: torch.device) -> Row:
    """The row of one network in one dtype."""
    given = problem(network, dtype, device)
    rows = per_example_gradients(given.model, PER_EXAMPLE, given.inputs, given.targets)
    sq_norms, dots, scale = expected_values(dict(rows))
    before = state_of(given.model)
    batches = [(inputs, targets) for inputs, targets, _ in mixed_batches(given)]
    found = example_statistics(given.model, PER_EXAMPLE, batches, along="sum")
    as_found = all(torch.equal(a, b) for a, b in zip(before, state_of(given.model), strict=True))
    errors = {
        "squared norms": float(((torch.as_tensor(found.sq_norm) - sq_norms).abs() / sq_norms).max()),
        "products with the sum": float(((torch.as_tensor(found.dot["sum"]) - dots).abs() / scale).max()),
    }
    tolerance = TOLERANCE[dtype]
    return {
        "errors": errors, "tolerance": tolerance, "left_as_found": as_found,
        "passed": as_found and all(error <= tolerance for error in errors.values()),
        "result": "largest error "
        + ", ".join(f"{error:.1e} ({name})" for name, error in errors.items())
        + f"; tolerance {tolerance:.0e}",
        "note": "" if as_found else "the model or a generator was not left as found",
    }  # fmt: skip


def examples(device: torch.device, left: Left, small: bool) -> Iterator[Row]:
    """Rows of every network in both dtypes, then of what single examples cost."""
    end = time.monotonic() + 0.6 * left()
    longest = 0.0
    for name, network in NETWORKS.items():
        for dtype in TOLERANCE:
            row: Row = {"case": name, "setting": str(dtype).removeprefix("torch.")}
            if end - time.monotonic() < 1.5 * longest:
                yield row | {"passed": None, "result": "", "note": CUT}
                continue
            start = time.monotonic()
            try:
                row |= checked_examples(network, dtype, device)
            except Exception as error:
                row |= {"result": "", **failure(error)}
            longest = max(longest, time.monotonic() - start)
            free(device)
            yield row
    yield from _cost_of_examples(device, left, small)


def _cost_of_examples(device: torch.device, left: Left, small: bool) -> Iterator[Row]:
    """Seconds of the sample's statistics, of the norms of its examples, and of their products with the sum."""
    batch, count = (8, 3) if small else (64, 4)
    case = f"{'small CNN' if small else 'ResNet-50'}, {count} batches of {batch}"
    torch.manual_seed(0)
    model = (small_cnn() if small else TASKS["ResNet-50"].build()).eval().to(device)
    side = 32 if small else 224
    batches = [
        (torch.randn(batch, 3, side, side).to(device), torch.randint(0, 1000, (batch,)).to(device))
        for _ in range(count)
    ]
    ways: dict[str, Callable[[], object]] = {
        "gradient_statistics": lambda: gradient_statistics(model, PER_EXAMPLE, batches),
        "norms of examples": lambda: example_statistics(model, PER_EXAMPLE, batches),
        "and products with S": lambda: example_statistics(model, PER_EXAMPLE, batches, along="sum"),
    }
    try:
        peaks = {name: peak_of(run, device)[1] for name, run in ways.items()}
        seconds = in_turns(ways, device, left)
    except Exception as error:
        yield {"case": case, "setting": "float32", "result": "", **failure(error)}
        return
    first = seconds["gradient_statistics"]
    for name, own in seconds.items():
        ratio = median_ratio(own, first)
        middle = sorted(own)[len(own) // 2]
        yield {
            "case": case, "setting": f"float32, {name}", "seconds": middle, "ratio_to_statistics": ratio,
            "turns": len(own), "peak_bytes": peaks[name], "passed": None, "note": "",
            "result": f"{middle:.4f} s, {ratio:.2f} x gradient_statistics, peak {mebibytes(peaks[name])} "
            f"({len(own)} turns)",
        }  # fmt: skip


# --- the monitor ------------------------------------------------------------------------------------------------------

PROBE, EVERY = 256, 20


def trained(
    device: torch.device, small: bool, updates: int, monitored: bool
) -> tuple[str, float, CoherenceMonitor | None]:
    """(SHA-256 of the weights and of all that the optimiser and the scaler keep, seconds, the monitor)."""
    torch.manual_seed(0)
    model = small_cnn() if small else resnet18(num_classes=1000)
    side, batch = (32, 16) if small else (64, 256)
    model = model.to(device, memory_format=torch.channels_last).train()
    model.register_module("dropout", nn.Dropout(0.1))  # draws from the device's generator
    inputs, targets = torch.randn(4 * batch, 3, side, side).to(device), torch.randint(0, 1000, (4 * batch,)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**12, enabled=device.type == "cuda")
    probe = (inputs[:PROBE], targets[:PROBE])
    monitor = CoherenceMonitor(model, PER_EXAMPLE, probe, EVERY) if monitored else None
    narrow = torch.float16 if device.type == "cuda" else torch.bfloat16
    start = time.perf_counter()
    for step in range(updates + 1):
        if step:
            part = slice((step - 1) % 4 * batch, ((step - 1) % 4 + 1) * batch)
            optimizer.zero_grad()
            with torch.autocast(device.type, narrow):
                loss = F.cross_entropy(model.dropout(model(inputs[part])), targets[part])
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        if monitor is not None:
            with torch.autocast(device.type, narrow):  # a caller may well be inside
                monitor(step)
    kept = [*model.state_dict().values(), *(one["momentum_buffer"] for one in optimizer.state.values())]
    kept += [torch.tensor(scaler.get_scale()), torch.get_rng_state()]
    kept += [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return _digest(kept), time.perf_counter() - start, monitor


def _digest(tensors: Sequence[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def monitoring(device: torch.device, left: Left, small: bool) -> Iterator[Row]:
    """Whether a monitor changes what is trained, and what it costs."""
    case = f"{'small CNN' if small else 'ResNet-18'}, {PROBE} probe examples every {EVERY} updates"
    if left() < 10.0:
        yield {"case": case, "setting": "", "passed": None, "result": "", "note": CUT}
        return
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        torch.use_deterministic_algorithms(True)
        trained(device, small, 2, monitored=False)  # what the device's libraries take at their first call
        updates = EVERY if small else 3 * EVERY
        plain, seconds, _ = trained(device, small, updates, monitored=False)
        watched, _, monitor = trained(device, small, updates, monitored=True)
        again, _, _ = trained(device, small, updates, monitored=False)
    except Exception as error:
        yield {"case": case, "setting": "float16, scaled", "result": "", **failure(error)}
        return
    finally:
        torch.use_deterministic_algorithms(deterministic)
    assert monitor is not None
    values = monitor.history["m_coherence"]
    same = "the same bits with a monitor as without" if watched == plain else "OTHER BITS with a monitor"
    known = plain == again
    yield {
        "case": case, "setting": "float16, scaled, channels_last",
        "seconds_without": seconds, "seconds_of_monitor": monitor.cost.seconds, "measurements": len(values),
        "passed": watched == plain and known and bool(values.notna().all()),
        "result": f"{same}; {updates} updates take {seconds:.2f} s, {len(values)} measurements "
        f"{monitor.cost.seconds:.2f} s",
        "note": "" if known else "the same training without a monitor gives other bits a second time",
    }  # fmt: skip
