"""What gradient statistics cost against plain forward and backward passes, for every network of `networks.py`.

    python benchmarks/ratios.py [--networks NAME ...] [--rounds 5] [--wall] [--threads 1] [--exact] [--json FILE]

In one process, the three in turn, round after round; medians of the ratios within a round:

    plain   forward pass and backward pass of the summed loss to all parameters
    batch   a batch of a long sweep, 36 or more, without the first and its checks; where 12 plain passes take over a
            second, a sweep of one batch without checks stands for it. Small batches of chains of torch's own layers are
            joined in it.
    call    gradient_statistics on 12 batches against 12 plain passes. Where these take over a second, a call of one
            batch and eleven times `batch` stand for it.

Processor time of one thread, which is what a machine under other load can tell; --wall takes wall time, for several
threads on a quiet one. --exact holds Q and |S|^2 of each network in float64 against the loop over single examples.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable

import torch
from networks import NETWORKS, problem

from mcoherence import gradient_statistics
from mcoherence.gradients.batch.passes import Passes
from mcoherence.gradients.given.trees import length, mapped, outputs_of, rows
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.gradients.sweep.sample_pass import measured_batches
from mcoherence.gradients.sweep.tally import Tally

BATCHES = 12
TURN_SECONDS = 0.1  # a turn lasts at least about this long
LONG_SECONDS = 1.0


def ratios(name: str, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """{"plain_ms", "batch", "call"} of a network."""
    model, loss_fn, inputs, targets = problem(name)
    parameters = list(model.parameters())
    passes = Passes(model, loss_fn)

    def plain() -> None:
        torch.autograd.grad(loss_fn(outputs_of(model, inputs), targets).sum(), parameters, allow_unused=True)

    def seconds_of_sweep(batches: int) -> float:
        """Of each of so many batches, after a first one; of a single batch without one."""
        first = int(batches > 1)
        with passes.capture.active():
            same = [(inputs, targets)] * (batches + first)
            sweep = measured_batches(passes, Tally(passes, spot_check=first, parts=2), same, groups=None)
            for _ in itertools.islice(sweep, first):
                pass
            start = clock()
            for _ in sweep:
                pass
            return (clock() - start) / batches

    def seconds(run: Callable[[], object], times: int = 1) -> float:
        start = clock()
        for _ in range(times):
            run()
        return (clock() - start) / times

    plain()
    seconds_of_sweep(1)
    times = max(1, int(TURN_SECONDS / max(1e-6, seconds(plain))))
    number = BATCHES if BATCHES * seconds(plain) < LONG_SECONDS else 1
    taken = []
    for _ in range(rounds):
        first, ours = seconds(plain, times), seconds_of_sweep(max(times, 3 * number) if number > 1 else 1)
        call = seconds(lambda: gradient_statistics(model, loss_fn, [(inputs, targets)] * number))
        again = seconds(plain, times)
        taken.append(((first + again) / 2, ours, call + (BATCHES - number) * ours))
    return {
        "plain_ms": 1e3 * statistics.median(one for one, _, _ in taken),
        "batch": statistics.median(ours / one for one, ours, _ in taken),
        "call": statistics.median(call / (BATCHES * one) for one, _, call in taken),
    }


def error(name: str, n: int = 3) -> float:
    """Largest relative error of Q and |S|^2 of a parameter in float64, against the loop, of n examples."""
    model, loss_fn, inputs, targets = problem(name)
    model.double()
    few = slice(0, n)
    inputs = mapped(lambda x: x.double() if x.is_floating_point() else x, rows(inputs, few))
    targets = rows(targets, few)
    found = gradient_statistics(model, loss_fn, [(inputs, targets)], spot_check=0)
    exact = per_example_gradients(model, loss_fn, inputs, targets)
    whole = sum(float(g.square().sum()) for g in exact.values())
    worst = 0.0
    for measured, expected in (
        (found.sum_sq_norm(by="parameter"), {k: float(g.square().sum()) for k, g in exact.items()}),
        (found.sq_norm_of_sum(by="parameter"), {k: float(g.sum(0).square().sum()) for k, g in exact.items()}),
    ):
        for key, value in expected.items():
            worst = max(worst, abs(measured[key] - value) / (value + 1e-14 * whole))
    assert length(inputs) == n
    return worst


def main() -> None:
    """Print the table, and write it where --json says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wall", action="store_true", help="wall time, not processor time of this thread")
    parser.add_argument("--exact", action="store_true", help="errors against the loop in float64, no times")
    parser.add_argument("--json", help="file to write the rows to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.perf_counter if options.wall else time.thread_time
    found: dict[str, dict[str, float]] = {}
    for name in options.networks:
        of_batch, of_call = NETWORKS[name][1:]
        if options.exact:
            found[name] = {"error": error(name)}
            print(f"{name:17} {found[name]['error']:.1e}", flush=True)
            continue
        found[name] = ratios(name, options.rounds, clock)
        one = found[name]
        print(
            f"{name:17} plain {one['plain_ms']:8.2f} ms   batch {one['batch']:5.2f} ({of_batch:.2f})   "
            f"call {one['call']:5.2f} ({of_call:.2f})",
            flush=True,
        )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
