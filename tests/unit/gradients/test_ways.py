"""Batches whose pass reads values: which examples are passed through the model once more, and what is refused."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.graph.watching import Watch
from mcoherence.gradients.reference import per_example_gradients

LOSS = nn.CrossEntropyLoss(reduction="none")
TOKENS, WIDTH, CLASSES = 5, 4, 3


class Padded(nn.Module):
    """Means of embedded tokens, those that the mask leaves; read(mask) decides whether it is looked at.

    sizes: numbers of examples of the passes so far.
    """

    def __init__(self, read, unmasked=None):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(11, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.read, self.unmasked = read, unmasked or (lambda h: h)
        self.sizes = []

    def forward(self, tokens, mask):
        self.sizes.append(len(tokens))
        embedded = self.embedding(tokens)
        if self.read(mask):
            return self.head(self.unmasked(embedded.mean(1)))
        weights = (mask / mask.sum(1, keepdim=True)).to(embedded.dtype)
        return self.head((embedded * weights[:, :, None]).sum(1))


def batch(lengths, seed=0):
    """Tokens and masks of texts of such lengths, and labels."""
    torch.manual_seed(seed)
    n = len(lengths)
    mask = (torch.arange(TOKENS) < torch.tensor(lengths)[:, None]).long()
    return {"tokens": torch.randint(0, 11, (n, TOKENS)), "mask": mask}, torch.randint(0, CLASSES, (n,))


def exact_m_coherence(model, batches):
    gradients = [per_example_gradients(model, LOSS, *one) for one in batches]
    rows = torch.cat([torch.cat([g.flatten(1) for g in of_batch.values()], 1) for of_batch in gradients]).double()
    return float(rows.sum(0).square().sum() / rows.square().sum())


def passes_beside_measuring(model, batches, **options):
    """What the batches give one by one, and the sizes of the passes that were made beside those of whole batches."""
    model.sizes.clear()
    statistics = gradient_statistics(model, LOSS, batches, **options)
    beside = list(model.sizes)
    for inputs, _ in batches:
        beside.remove(len(inputs["tokens"]))
    return statistics, beside


def by_any_other_name(mask):
    return bool((1 - mask).sum() == 0)


SAME = {
    "all": lambda mask: mask.all(),
    "a comparison of sums": by_any_other_name,
    "an item": lambda mask: mask.min().item(),
    "equal": lambda mask: torch.equal(mask, torch.ones_like(mask)),
    "an operation": lambda mask: torch.ops.aten.equal.default(mask, torch.ones_like(mask)),
    "one of several": lambda mask: mask.min(dim=1).values.all(),
}


@pytest.mark.parametrize("name", SAME)
def test_examples_that_read_alone_what_the_batch_read_are_not_passed_again(name):
    model = Padded(SAME[name])
    padded = [batch([2, 3, 4, 1, 2, 3, 4, 1], seed) for seed in range(4)]
    statistics, beside = passes_beside_measuring(model, padded, spot_check=1)
    assert statistics.m_coherence() == pytest.approx(exact_m_coherence(model, padded), rel=1e-5)
    # Of the first batch: an example that shows its values, that its loss is looked at of, and another's gradient. Then
    # half of the batch and the first example, as of one that reads nothing.
    assert sorted(beside) == [1, 2, 2, 2, 2, 4]


@pytest.mark.parametrize("name", SAME)
def test_those_that_read_something_else_are_passed_in_a_batch_of_their_own(name):
    model = Padded(SAME[name])
    some_padded = [batch([2, 5, 5, 5, 2, 3, 4, 1], seed) for seed in range(4)]
    statistics, beside = passes_beside_measuring(model, some_padded, spot_check=1)
    assert statistics.m_coherence() == pytest.approx(exact_m_coherence(model, some_padded), rel=1e-5)
    assert beside.count(3) == 4
    assert max(beside) == 4
    assert len(beside) < 16  # all alone: 4 x 8


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("lengths", [[2, 5, 5, 3], [2, 3, 4, 5], [5, 4, 5, 5]])
def test_a_way_to_another_loss_is_refused_in_whichever_batch_it_is(name, lengths):
    model = Padded(SAME[name], unmasked=lambda h: 1.01 * h)
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(model, LOSS, [batch([2, 3, 4, 1]), batch(lengths, 1)])


def test_so_is_one_to_the_same_loss_and_another_gradient():
    model = Padded(SAME["all"], unmasked=lambda h: h.detach())
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(model, LOSS, [batch([2, 3, 4, 1]), batch([2, 5, 3, 1], 1)])


def test_a_way_that_later_batches_go_is_compared_by_its_losses_again():
    calls = []
    model = Padded(SAME["all"], unmasked=lambda h: h * (1.01 if len(calls) > 6 else 1.0))
    model.embedding.register_forward_hook(lambda *_: calls.append(1))
    batches = [batch([2, 5, 5, 3], seed) for seed in range(6)]
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(model, LOSS, batches)


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("unmasked", [lambda h: 1.01 * h, lambda h: h.detach()], ids=["loss", "gradient"])
def test_so_is_the_way_of_a_single_text_in_a_batch_among_others(name, unmasked):
    model = Padded(SAME[name], unmasked=unmasked)
    batches = [batch([2, 3, 4, 1], seed) for seed in range(6)]
    batches[3] = batch([2, 3, 5, 1], 3)
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(model, LOSS, batches)


def read_twice(mask):
    """A second value that is read on one of the two ways only."""
    return bool(mask.all()) and bool((mask.sum(1) > 0).any())


def test_a_way_on_which_more_is_read_is_compared_alone():
    model = Padded(read_twice)
    _, beside = passes_beside_measuring(model, [batch([2, 5, 5, 5, 2, 3, 4, 1], seed) for seed in range(3)])
    assert beside.count(2) >= 3 * 3  # the three of each batch


def through_numpy(mask):
    return bool(np.all(mask.numpy()))


def of_rows_by_content(mask):
    return len(mask[mask.bool()]) == mask.numel()


def of_a_number_that_differs(mask):
    return mask.float().mean().item() == 1


def written_to_later(mask):
    full = mask.clone()
    other = full.view(-1)
    found = bool(full.all())
    other.fill_(1)
    return found


def of_a_constant_that_is_written_to(mask):
    ones = torch.ones_like(mask)
    found = bool((mask * ones).all())
    ones.zero_()
    return found


def as_sparse_values(mask):
    return len(mask.to_sparse().values()) == mask.numel()


def of_positions_made_in_inference_mode(mask):
    with torch.inference_mode():
        positions = 1 + torch.arange(mask.shape[1])
    return bool((positions * mask).all())


def in_half_precision(mask):
    """303 where nothing is masked; in bfloat16, 304."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mask.float() @ torch.tensor([[61.0], [61.0], [61.0], [60.0], [60.0]])
    return bool((found.float() > 303.5).all())


def in_another_default_dtype(mask):
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = (60 * mask.sum(1) + 3) / 1
    finally:
        torch.set_default_dtype(torch.float32)
    return bool((found.float() > 303.5).all())


KEPT = torch.tensor(2)


NOT_WORKED_OUT = {
    "numpy": through_numpy,
    "rows by content": of_rows_by_content,
    "a number that differs": of_a_number_that_differs,
    "written to by another name": written_to_later,
    "a constant that is written to": of_a_constant_that_is_written_to,
    "a number of the largest": lambda mask: len(torch.ones(9).topk(mask.sum(1).min())[0]) == TOKENS,
    "sparse values": as_sparse_values,
    "positions made in inference mode": of_positions_made_in_inference_mode,
    "half precision": in_half_precision,
    "another default dtype": in_another_default_dtype,
    "of what came from elsewhere": lambda mask: bool((KEPT * mask).all()),
}


@pytest.mark.parametrize("name", NOT_WORKED_OUT)
def test_where_values_cannot_be_worked_out_every_example_is_passed_alone(name):
    model = Padded(NOT_WORKED_OUT[name])
    mixed = [batch([2, 5, 4, 1], seed) for seed in range(3)]
    statistics, beside = passes_beside_measuring(model, mixed)
    assert statistics.m_coherence() == pytest.approx(exact_m_coherence(model, mixed), rel=1e-5)
    assert beside.count(2) >= 3 * 4
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(Padded(NOT_WORKED_OUT[name], unmasked=lambda h: 1.01 * h), LOSS, mixed)


def below_zero(mask):
    return math.copysign(1.0, ((mask.min() - 1) * 0.0).item()) > 0


@pytest.mark.parametrize("name", NOT_WORKED_OUT)
def test_so_too_where_earlier_batches_have_gone_the_way_of_the_batch(name):
    model = Padded(NOT_WORKED_OUT[name], unmasked=lambda h: 1.01 * h)
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(model, LOSS, [batch([2, 3, 4, 1]), batch([2, 3, 4, 1], 1), batch([2, 5, 4, 5], 2)])


def test_minus_zero_is_not_zero():
    model = Padded(below_zero, unmasked=lambda h: 1.01 * h)
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(model, LOSS, [batch([2, 3, 4, 1]), batch([2, 5, 5, 1], 1)])


def in_reverse(mask, output):
    return output.flip(0)


def more_where_others_are_of_length_4(mask, output):
    is_of_length_4 = mask.sum(1, keepdim=True) == 4
    return output * (1 + (is_of_length_4.any() & ~is_of_length_4))


@pytest.mark.parametrize(
    ("mixed", "lengths"),
    [(in_reverse, [2, 3, 4]), (more_where_others_are_of_length_4, [2, 4, 4, 4, 4, 4, 4, 4])],
    ids=["in reverse", "by others"],
)
def test_a_batch_that_reads_is_compared_with_a_smaller_one_as_any_other_is(mixed, lengths):
    model = Padded(SAME["all"])
    model.register_forward_hook(lambda _, args, kwargs, output: mixed(kwargs["mask"], output), with_kwargs=True)
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(model, LOSS, [batch(lengths)])


def test_thousands_of_values_are_read_in_a_time_that_grows_with_their_number():
    watch = Watch()
    one = torch.tensor(1)
    with watch:
        for _ in range(50):
            int(one)
    kept = watch.reads
    with watch:
        int(one)
    assert watch.reads is kept  # and no copy of all for each
    assert len(kept) == 51


class EitherMask(Padded):
    """Takes a mask under one of two names, and reads it by the one or the other's rule."""

    def forward(self, tokens, mask=None, kinds=None):
        given = kinds if mask is None else mask
        self.read = (lambda _: (kinds < 3).all()) if mask is None else (lambda _: mask.all())
        return super().forward(tokens, given.clamp(max=1))


def test_inputs_that_stand_elsewhere_in_the_tree_are_shown_anew():
    """Tensors of the same shapes under another name, which code reads in another way."""

    def named(lengths, seed, kinds):
        inputs, targets = batch(lengths, seed)
        mask = inputs.pop("mask")
        of_length_4 = torch.tensor(lengths)[:, None] == 4
        kept = torch.where(of_length_4, 2 * mask, 3 * mask) if kinds else mask
        return inputs | ({"mask": None, "kinds": kept} if kinds else {"mask": kept, "kinds": None}), targets

    model = EitherMask(SAME["all"], unmasked=lambda h: 1.01 * h)
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(
            model, LOSS, [named([2, 3, 1, 3], 0, False), named([2, 3, 1, 3], 1, True), named([2, 4, 4, 3], 2, True)]
        )


@pytest.mark.parametrize("read", [SAME["all"], lambda mask: False], ids=["reads", "reads nothing"])
def test_a_model_that_takes_some_numbers_of_examples_only_is_measured_by_these(read):
    model = Padded(read)

    def refuse_others(module, args, kwargs):
        if len(kwargs["mask"]) not in (2, 8):
            raise ValueError(len(kwargs["mask"]))

    model.register_forward_pre_hook(refuse_others, with_kwargs=True)
    batches = [batch([2, 5, 5, 5, 2, 3, 4, 1], seed) for seed in range(2)]
    statistics = gradient_statistics(model, LOSS, batches)
    assert statistics.m_coherence() == pytest.approx(exact_m_coherence(model, batches), rel=1e-5)


def test_no_example_is_asked_any_more_once_none_has_shown_its_batchs_way():
    model = Padded(of_a_number_that_differs)
    _, beside = passes_beside_measuring(model, [batch([2, 5, 4, 1], seed) for seed in range(6)], spot_check=1)
    # Every example alone and its spot check (one of one and one of two), in six batches; four asked in two of them.
    assert beside.count(2) == 6 * (4 + 1) + 2 * 4


def test_truth_is_not_one():
    """What a batch reads is an int where the examples alone read a truth value."""
    model = Padded(lambda mask: (mask.all() if len(mask) == 2 else mask.min()).item())
    _, beside = passes_beside_measuring(model, [batch([2, 3, 4, 1])])
    assert beside.count(2) >= 4


def test_a_number_that_is_read_from_positions_alone_costs_a_single_pass():
    model = Padded(lambda mask: bool((torch.arange(mask.shape[1]).diff() != 1).any()))
    _, beside = passes_beside_measuring(model, [batch([2, 5, 4, 1, 2, 5], seed) for seed in range(4)])
    assert len(beside) <= 6


def test_masks_of_other_lengths_are_shown_anew():
    model = Padded(SAME["all"])

    def shorter(seed):
        inputs, targets = batch([2, 3, 1, 3], seed)
        return {name: value[:, :3] for name, value in inputs.items()}, targets

    statistics, _ = passes_beside_measuring(model, both := [batch([2, 3, 4, 1]), shorter(1), shorter(2)])
    assert statistics.m_coherence() == pytest.approx(exact_m_coherence(model, both), rel=1e-5)
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(
            Padded(SAME["all"], unmasked=lambda h: 1.01 * h), LOSS, [batch([2, 3, 4, 1]), shorter(1), shorter(2)]
        )
