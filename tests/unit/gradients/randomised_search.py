"""A search by hypothesis for networks that are measured wrongly: a drawn one is right, refused, or shrunk and shown."""

from collections import Counter

import torch
from hypothesis import HealthCheck, assume, given, seed, settings
from torch import Tensor, nn

from tests.unit.gradients.against_the_loop import judged_by, loop
from tests.unit.gradients.drawn_networks import LOSSES, Problem, batches_of, global_hook, network_of, problems

# Where content leaves it a batch of one example, torch's batch norm of images is wrong (2.15, on the CPU).
FAULTY_FOR_ONE = {"convolution and norm"}


def search(examples: int, of_seed: int, mixing: bool = False) -> Counter:
    """How often so many problems drawn from a seed came to what: "measured", "refused", or "not a network".

    Raises:
        AssertionError: a number, or what is left behind, is wrong; a note has the smallest problem found that shows it.
        Exception: an error of torch where the package was to refuse.
    """
    outcomes: Counter = Counter()

    @seed(of_seed)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(problems(mixing))
    def every(problem: Problem) -> None:
        outcome = measure(problem)
        outcomes[outcome if outcome in ("measured", "not a network") else "refused"] += 1
        assume(outcome != "not a network")

    every()
    return outcomes


def measure(problem: Problem) -> str:
    """What came of a problem: "measured", "not a network" where torch itself cannot run it, or the refusal."""
    network, batches, loss_fn = network_of(problem), batches_of(problem), LOSSES[problem.network.loss]
    with global_hook(problem.network.global_hook):
        network.eval()
        try:
            sums = [plain_sum(network, loss_fn, *batch[:2]) for batch in batches]
            exact = loop(network, loss_fn, batches)
        except Exception:  # a piece that does not take what another hands it, in all of torch's ways of saying so
            return "not a network"
        apart = keeps_examples_apart(sums, [gradients for _, gradients in exact])
        if not apart and {layer.kind for layer in problem.network.layers} & FAULTY_FOR_ONE:
            return "not a network"
        of_each = not any("clamped" in layer.altered for layer in problem.network.layers)
        assert apart or not of_each or problem.network.mixing != "none", "a network that mixes without being drawn to"
        network.train()
        network.layers[0].eval()
        some = next(network.parameters())
        some.grad = torch.ones_like(some)
        return judged_by(exact, network, loss_fn, batches)


def plain_sum(network: nn.Module, loss_fn, inputs: Tensor, targets: Tensor) -> list[Tensor | None]:
    losses = loss_fn(network(inputs), targets)
    parameters = [p for p in network.parameters() if p.requires_grad]
    return list(torch.autograd.grad(losses.sum(), parameters, allow_unused=True)) if losses.requires_grad else []


def keeps_examples_apart(sums: list[list[Tensor | None]], rows: list[dict[str, Tensor]]) -> bool:
    """Whether the examples' gradients, a row each, add up to those of the batches."""
    whole = sum(float(g.abs().square().sum()) for row in rows for g in row.values()) + 1e-4
    for index, name in enumerate(rows[0]):
        difference = torch.stack([row[name] for row in rows]).sum(0)
        scale = float(difference.norm())
        for of_batch in sums:
            if of_batch and (found := of_batch[index]) is not None:
                difference = difference - (found.to_dense() if found.is_sparse else found)
        if not float(difference.norm()) <= 1e-7 * scale + 1e-11 * (whole * len(rows)) ** 0.5:
            return False
    return True
