"""Small batches of a chain of torch's layers go through it together, and nothing that comes out tells."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, Subset, TensorDataset

from mcoherence import example_gram, example_statistics, gradient_statistics
from mcoherence.gradients.batch.passes import Passes
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.given.trees import length
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.gradients.sweep import sample_pass, small_batches

D = 4
PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


@pytest.fixture(autouse=True)
def passed(monkeypatch):
    """Numbers of examples of the passes that are measured."""
    sizes = []

    def noting(measure):
        def measured(passes, inputs, *given, **options):
            sizes.append(length(inputs))
            return measure(passes, inputs, *given, **options)

        return measured

    monkeypatch.setattr(Passes, "measure", noting(Passes.measure))
    monkeypatch.setattr(sample_pass, "measure_joined", noting(sample_pass.measure_joined))
    return sizes


def sample(*sizes):
    torch.manual_seed(0)
    return [(torch.randn(n, D, dtype=torch.float64), torch.arange(n) % 3) for n in sizes]


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def by_loop(model, batches, loss_fn=PER_EXAMPLE):
    """{parameter: (Q, |S|^2)} of all examples, one by one."""
    rows = [per_example_gradients(model, loss_fn, *batch) for batch in batches]
    return {
        name: (
            sum(float(one[name].square().sum()) for one in rows),
            float(sum(one[name].sum(0) for one in rows).square().sum()),
        )
        for name in rows[0]
    }


def one_by_one(model, batches, loss_fn, **options):
    """{parameter: (Q, |S|^2)} of all examples, batch by batch, each in a call of its own."""
    found = [gradient_statistics(model, loss_fn, [batch], **options) for batch in batches]
    norms = [one.sum_sq_norm(by="parameter") for one in found]
    sums = [sum(one.group_sums[i] for one in found) for i in range(len(found[0].group_sums))]
    squares = [float(value.square().sum()) for value in sums]
    return {name: (sum(one[name] for one in norms), s) for name, s in zip(norms[0], squares, strict=True)}


def assert_equal(found, expected):
    norms, sums = found.sum_sq_norm(by="parameter"), found.sq_norm_of_sum(by="parameter")
    assert {name: (norms[name], sums[name]) for name in norms} == {
        name: pytest.approx(values, rel=1e-12) for name, values in expected.items()
    }


def test_batches_after_the_first_of_their_size_go_together_and_sums_are_those_of_the_loop(passed):
    batches, model = sample(7, 7, 7, 7, 3), network()
    found = gradient_statistics(model, PER_EXAMPLE, batches)
    assert passed == [7, 21, 3]
    assert found.counts.tolist() == [31]
    assert_equal(found, by_loop(model, batches))


def test_a_pass_stays_as_small_as_told(monkeypatch, passed):
    # Of each example, D numbers and a label, four operations make 5, 5, 3 and 3 numbers, and its loss.
    monkeypatch.setattr(small_batches, "MOST_NUMBERS", 21 * (D + 1 + 5 + 5 + 3 + 3 + 1))
    gradient_statistics(network(), PER_EXAMPLE, sample(*[7] * 8))
    assert passed == [7, 21, 21, 7]


def test_a_pass_holds_eight_batches_at_most_whatever_they_make(passed):
    gradient_statistics(network(), PER_EXAMPLE, sample(*[40] * 40))
    assert passed == [40, 320, 320, 320, 320, 280]


def test_no_more_than_eight_go_together_where_they_shrink(passed):
    gradient_statistics(network(), PER_EXAMPLE, sample(100, 100, *[2] * 40))
    assert passed == [100, 100, 2, *[8 * 2] * 4, 7 * 2]


def test_what_a_convolution_unfolds_takes_room(monkeypatch, passed):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 2, 5, padding=2), nn.Flatten(), nn.Linear(2 * 64, 3)).double()
    batches = [(torch.randn(4, 1, 8, 8).double(), torch.arange(4) % 3) for _ in range(9)]
    monkeypatch.setattr(small_batches, "MOST_NUMBERS", 8 * 64 * (25 + 1 + 2 + 1))
    found = gradient_statistics(model, PER_EXAMPLE, batches)
    assert passed == [4, 8, 8, 8, 8]
    assert_equal(found, by_loop(model, batches))


@pytest.mark.parametrize(
    "layers",
    [
        lambda: (nn.Linear(1000, 2), nn.Linear(2, 3)),
        lambda: (nn.Linear(D, 1000).requires_grad_(False), nn.Linear(1000, 3)),
    ],
    ids=["inputs", "frozen layer"],
)
def test_what_no_operation_under_the_losses_makes_takes_room_too(monkeypatch, passed, layers):
    torch.manual_seed(1)
    model = nn.Sequential(*layers()).double()
    batches = [(torch.randn(7, model[0].in_features).double(), torch.arange(7) % 3) for _ in range(7)]
    monkeypatch.setattr(small_batches, "MOST_NUMBERS", 14 * 1100)
    gradient_statistics(model, PER_EXAMPLE, batches)
    assert passed == [7, 14, 14, 14]


def summed_up(outputs, targets):
    return outputs.flatten(1).sum(1) * targets


def test_shapes_dtypes_and_groups_stay_apart_and_examples_keep_their_places(passed):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, D), nn.Linear(D, 3), nn.Tanh()).double()
    inputs = [torch.randint(9, (4, t)) for t in (6, 6, 6, 5, 5, 6, 6, 6)]
    inputs[4] = inputs[4].to(torch.int32)
    batches = [(x, torch.arange(4).double()) for x in inputs]
    found = gradient_statistics(model, summed_up, batches)
    assert passed == [4, 8, 4, 4, 12]  # two kinds come between
    assert_equal(found, by_loop(model, batches, summed_up))
    rows = [per_example_gradients(model, summed_up, *batch) for batch in batches]
    flat = torch.cat([torch.cat([g.flatten(1) for g in one.values()], 1) for one in rows])
    gram = example_gram(model, summed_up, batches)
    assert gram.products == pytest.approx((flat @ flat.T).numpy(), rel=1e-10, abs=1e-12)
    of_examples = example_statistics(model, summed_up, batches, along="sum")
    assert of_examples.sq_norm == pytest.approx(flat.square().sum(1).numpy(), rel=1e-12)
    assert of_examples.dot["sum"] == pytest.approx((flat @ flat.sum(0)).numpy(), rel=1e-10, abs=1e-9)

    ids = [torch.full((4,), group) for group in (0, 0, 1, 1, 1, 0, 0, 1)]
    of_groups = [(x, y, group.long()) for (x, y), group in zip(batches, ids, strict=True)]
    found = gradient_statistics(model, summed_up, of_groups, groups=["a", "b"])
    assert found.counts.tolist() == [16, 16]
    for group, chosen in (("a", (0, 1, 5, 6)), ("b", (2, 3, 4, 7))):
        exact = by_loop(model, [batches[i] for i in chosen], summed_up)
        assert found.sum_sq_norm(groups=[group]) == pytest.approx(sum(q for q, _ in exact.values()), rel=1e-12)
        assert found.sq_norm_of_sum(groups=[group]) == pytest.approx(sum(s for _, s in exact.values()), rel=1e-12)


def test_batches_of_one_example_are_the_examples_alone(passed):
    batches, model = sample(1, 1, 7, 7, 7, 1), network()
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), by_loop(model, batches))
    assert passed == [1, 1, 7, 14, 1]


def test_a_pass_that_fails_counts_for_nothing_and_is_told_of_its_batch_alone(passed):
    batches = sample(6, 6, 6, 6)
    batches[2][0][4, 1] = torch.nan
    with pytest.raises(Exception, match="not finite") as found:
        gradient_statistics(network(), PER_EXAMPLE, batches)
    assert passed == [6, 18, 6, 6]
    with pytest.raises(type(found.value)) as alone:
        gradient_statistics(network(), PER_EXAMPLE, batches[2:])
    assert str(found.value) == str(alone.value)


# What a loss function may do that depends on the batch: it is asked as it would be without joining.


def over_size(outputs, targets):
    return PER_EXAMPLE(outputs, targets) / len(targets)


def of_few(outputs, targets):
    return PER_EXAMPLE(outputs, targets) * (1.0 if len(targets) <= 8 else 2.0)


def of_experts(outputs, targets):
    """A second expert has room for two examples of a batch."""
    second = (outputs[:, 0] > 0.2).long()
    return PER_EXAMPLE(outputs, targets) * (second * second.cumsum(0) <= 2)


def after_the_first(outputs, targets):
    return PER_EXAMPLE(outputs, targets) * (1.0 + targets[:1])


def test_a_loss_is_given_one_batch_at_a_time(passed):
    batches, model = sample(*[6] * 9), network()
    assert_equal(gradient_statistics(model, of_few, batches), by_loop(model, batches))
    assert passed == [6, 48]


@pytest.mark.parametrize("loss_fn", [over_size, of_few, of_experts, after_the_first])
def test_without_checks_batches_stay_apart_and_losses_are_those_of_the_batches_handed_in(passed, loss_fn):
    batches, model = sample(*[6] * 9), network()
    found = gradient_statistics(model, loss_fn, batches, spot_check=0)
    assert passed == [6] * 9
    assert_equal(found, one_by_one(model, batches, loss_fn, spot_check=0))


@pytest.mark.parametrize(
    "does",
    [
        lambda outputs, targets: bool((outputs > 9).any()),
        lambda outputs, targets: outputs[outputs > 9],
        lambda outputs, targets: torch.rand(1),
    ],
    ids=["reads a value", "chooses rows", "draws"],
)
def test_batches_that_are_each_checked_by_what_their_loss_reads_stay_apart(passed, does):
    def loss_fn(outputs, targets):
        does(outputs, targets)
        return PER_EXAMPLE(outputs, targets)

    batches, model = sample(*[6] * 5), network()
    assert_equal(gradient_statistics(model, loss_fn, batches), by_loop(model, batches))
    assert passed == [6] * 5


@pytest.mark.parametrize(
    "does",
    [lambda outputs: outputs.register_hook(lambda g: g), lambda outputs: outputs.grad_fn],
    ids=["puts a hook", "asks for the graph"],
)
def test_batches_of_a_loss_that_may_change_gradients_unseen_stay_apart(passed, does):
    def loss_fn(outputs, targets):
        does(outputs)
        return PER_EXAMPLE(outputs, targets)

    gradient_statistics(network(), loss_fn, sample(*[6] * 5))
    assert passed == [6] * 5


@pytest.mark.parametrize("when", ["from the start", "later"])
def test_a_loss_that_asks_for_gradients_of_the_weights_keeps_batches_apart(passed, when):
    calls = []

    def loss_fn(outputs, targets):
        calls.append(1)
        losses = PER_EXAMPLE(outputs, targets)
        if when == "from the start" or len(calls) == 9:
            (given,) = torch.autograd.grad(losses.sum(), model[2].weight, retain_graph=True)
            losses = losses + 0.0 * given.norm()
        return losses

    model, batches = network(), sample(*[6] * 5)
    assert_equal(gradient_statistics(model, loss_fn, batches), by_loop(model, batches))
    assert passed == ([6] * 5 if when == "from the start" else [6, 24, 6, 6, 6, 6])


# What a loss function may keep from one batch to the next, or write to: nothing is put off past its next call.


def checkpointed():
    """Losses that are worked out again in the backward pass, from labels that were kept."""
    kept = {}

    def again(outputs):
        return PER_EXAMPLE(outputs, kept["labels"])

    def loss_fn(outputs, targets):
        kept["labels"] = targets
        return torch.utils.checkpoint.checkpoint(again, outputs, use_reentrant=False)

    return loss_fn


def weighted_in_place():
    """Weights in memory that is written to again, behind autograd's back."""
    weights = torch.zeros(6, dtype=torch.float64)

    def loss_fn(outputs, targets):
        weights[: len(targets)].data.copy_(1.0 + 9.0 * targets)
        return PER_EXAMPLE(outputs, targets) * weights[: len(targets)]

    return loss_fn


def packed_in_place():
    """What autograd saves is packed into memory that is used again."""
    place = torch.zeros(1000, dtype=torch.float64)

    def pack(saved):
        if saved.dtype != torch.float64:
            return saved
        return place[: saved.numel()].copy_(saved.detach().flatten()).shape, saved.shape

    def unpack(packed):
        return packed if isinstance(packed, torch.Tensor) else place[: packed[0][0]].reshape(packed[1])

    def loss_fn(outputs, targets):
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            return outputs.square().sum(1)

    return loss_fn


def returning_one_tensor():
    """The same memory each time."""
    places = {n: torch.zeros(n, dtype=torch.float64) for n in (1, 2, 5, 6)}

    def loss_fn(outputs, targets):
        return places[len(targets)].detach_().zero_().add_(PER_EXAMPLE(outputs, targets))

    return loss_fn


@pytest.mark.parametrize("make", [checkpointed, weighted_in_place, packed_in_place, returning_one_tensor])
@pytest.mark.parametrize("last", [6, 5])
def test_a_loss_that_keeps_something_is_asked_as_without_joining(passed, make, last):
    batches, model = sample(*[6] * 8, last), network()
    found = gradient_statistics(model, make(), batches)
    assert passed == ([6, 48] if last == 6 else [6, 42, 5])
    rows = example_statistics(model, make(), batches)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_batches, "MOST_NUMBERS", 0)
        alone = gradient_statistics(model, make(), batches)
        rows_alone = example_statistics(model, make(), batches)
    np.testing.assert_allclose(found.sum_sq_norms, alone.sum_sq_norms, rtol=1e-12)
    np.testing.assert_allclose(found.sq_norm_of_sum(), alone.sq_norm_of_sum(), rtol=1e-12)
    np.testing.assert_allclose(rows.sq_norm, rows_alone.sq_norm, rtol=1e-12)
    np.testing.assert_allclose(rows.losses, rows_alone.losses, rtol=1e-12)


def test_a_loss_that_writes_over_what_the_network_saved_keeps_batches_apart(passed):
    def loss_fn(outputs, targets):
        outputs.data.add_(1e-6)
        return outputs.sum(1) * (1.0 + targets)

    model = nn.Sequential(network(), nn.ReLU())
    batches = sample(*[6] * 5)
    assert_equal(gradient_statistics(model, loss_fn, batches), one_by_one(model, batches, loss_fn))
    assert passed[1] == 24  # which counts for nothing
    assert passed[2:6] == [6] * 4


def test_losses_that_reach_into_those_of_other_batches_are_refused_as_without_joining(passed):
    def made():
        bank = []

        def loss_fn(outputs, targets):
            bank.append(outputs.mean(0))
            reach = bank[-2].sum() if len(bank) > 8 else 0.0
            return PER_EXAMPLE(outputs, targets) + reach

        return loss_fn

    def error_of(batches):
        with pytest.raises(UnsupportedModelError) as found:
            gradient_statistics(network(), made(), batches)
        return str(found.value)

    joined = error_of(sample(*[6] * 6))
    assert passed[1] == 30
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_batches, "MOST_NUMBERS", 0)
        assert error_of(sample(*[6] * 6)) == joined


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model[1], "negative_slope", 0.25),
        lambda model: model[1].register_forward_hook(lambda layer, given, output: 2.0 * output),
        lambda model: setattr(model[1], "__class__", nn.Sigmoid),
        lambda model: setattr(model[1], "forward", torch.sigmoid),
        lambda model: model.__setitem__(1, nn.LeakyReLU(0.5)),
        lambda model: setattr(model[1], "negative_slope", np.float64(0.25)),
        lambda model: register_module_forward_hook(lambda layer, given, output: 2.0 * output),
    ],
    ids=["a setting", "a hook", "a type", "a method", "a layer", "a number of NumPy's", "a hook on every module"],
)
def test_a_loss_that_changes_the_network_while_batches_are_joined_is_refused(passed, change):
    calls = []

    def loss_fn(outputs, targets):
        calls.append(len(targets))
        if len(calls) == 9:  # in the joined pass
            change(model)
        return PER_EXAMPLE(outputs, targets)

    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(D, 5), nn.LeakyReLU(0.5), nn.Linear(5, 3)).double()
    try:
        with pytest.raises(UnsupportedModelError, match="loss function changes the network while it is measured"):
            gradient_statistics(model, loss_fn, sample(*[6] * 10))
    finally:
        torch.nn.modules.module._global_forward_hooks.clear()
    assert passed == [6, 48]


def test_a_loss_that_puts_a_hook_on_a_weight_ends_joining(passed):
    calls = []

    def loss_fn(outputs, targets):
        calls.append(len(targets))
        if len(calls) == 9:  # in the joined pass
            model[0].weight.register_hook(lambda gradient: 2.0 * gradient)
        return PER_EXAMPLE(outputs, targets)

    model = network()
    gradient_statistics(model, loss_fn, sample(*[6] * 6))
    assert passed == [6, 30, 6, 6, 6, 6, 6]


def test_a_list_is_taken_as_it_is_when_the_call_begins(passed):
    batches, others = sample(*[6] * 4), sample(*[7] * 4)
    expected = by_loop(network(), batches)

    def loss_fn(outputs, targets):
        batches[3] = others[3]
        batches.append(others[0])
        return PER_EXAMPLE(outputs, targets)

    assert_equal(gradient_statistics(network(), loss_fn, batches), expected)
    assert passed == [6, 18]


def test_a_loss_that_writes_to_a_data_set_which_was_read_ahead_is_refused():
    data = TensorDataset(torch.randn(36, D, dtype=torch.float64), torch.arange(36) % 3)
    calls = []

    def loss_fn(outputs, targets):
        calls.append(len(targets))
        if len(calls) == 9:
            data.tensors[1][30:] = 0
        return PER_EXAMPLE(outputs, targets)

    with pytest.raises(ValueError, match="writes to the data set that they come from"):
        gradient_statistics(network(), loss_fn, DataLoader(data, batch_size=6))


@pytest.mark.parametrize("kind", [TimeoutError, type("Stop", (Exception,), {})])
def test_an_error_of_the_users_own_kind_ends_the_call(kind):
    """A time limit, say, that a signal brings into a joined pass: the loss is not asked again."""
    calls = []

    def loss_fn(outputs, targets):
        calls.append(len(targets))
        if len(calls) == 9:
            raise kind
        return PER_EXAMPLE(outputs, targets)

    with pytest.raises(kind):
        gradient_statistics(network(), loss_fn, sample(*[6] * 6))
    assert len(calls) == 9


def test_a_loss_may_keep_tensors_on_the_network(passed):
    def loss_fn(outputs, targets):
        model.seen = outputs.detach()
        return PER_EXAMPLE(outputs, targets)

    model, batches = network(), sample(*[6] * 5)
    for _ in range(2):
        passed.clear()
        assert_equal(gradient_statistics(model, loss_fn, batches), by_loop(model, batches))
        assert passed == [6, 24]


def test_an_error_of_the_loss_is_that_of_its_batch_and_comes_after_those_before_it(passed):
    batches = sample(*[6] * 9)
    batches[7][1][2] = 5
    with pytest.raises(IndexError, match="Target 5 is out of bounds"):
        gradient_statistics(network(), PER_EXAMPLE, batches)
    batches[4][0][0] = torch.nan
    with pytest.raises(Exception, match="not finite"):
        gradient_statistics(network(), PER_EXAMPLE, batches)


def test_what_a_loss_gives_without_the_network_is_measured_as_nothing():
    found = gradient_statistics(
        network(), lambda _, targets: torch.ones(len(targets), requires_grad=True), sample(4, 4)
    )
    assert found.counts.tolist() == [8]
    assert found.sum_sq_norm() == 0.0


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 3, bias=False), (4,)),
        (nn.Linear(64, 64, bias=False), (2, 64)),
        (nn.Conv2d(64, 64, 3, bias=False), (64, 4, 4)),
        (nn.Conv1d(32, 64, 3, bias=False), (32, 4)),
    ],
    ids=["rank one", "linear", "2d", "1d"],
)
@pytest.mark.parametrize(("inputs", "weight"), [(2.7e-23, 1e14), (1e14, 2.7e-23)], ids=["inputs", "gradients"])
@pytest.mark.parametrize("together", [True, False], ids=["joined", "handed in as one"])
def test_squares_of_a_factor_that_leave_float32_in_one_batch_are_not_hidden_by_others(
    layer, shape, inputs, weight, together
):
    """|a|^2 is below the normal numbers of float32 in one batch, and |b|^2 is large: its gradients are not small."""
    model = nn.Sequential(layer)
    small = (torch.full((6, *shape), inputs), torch.full((6,), weight))
    batches = [*[(torch.ones(6, *shape), torch.full((6,), 1e-10))] * 3, small]
    if not together:
        batches = [tuple(torch.cat(parts) for parts in zip(*batches, strict=True))]

    def loss_fn(outputs, targets):
        return outputs.flatten(1).sum(1) * targets

    wide = nn.Sequential(copy.deepcopy(layer).double())
    rows = [per_example_gradients(wide, loss_fn, x.double(), t.double())["0.weight"] for x, t in batches]
    expected = sum(float(one.square().sum()) for one in rows)
    assert gradient_statistics(model, loss_fn, batches).sum_sq_norm() == pytest.approx(expected, rel=1e-5)


def test_squares_of_one_batch_that_are_too_small_for_float32_are_those_of_the_batch_alone():
    batches = [(x.float(), y) for x, y in sample(*[6] * 5)]
    scale = torch.ones(30)
    scale[12:18] = 1e-21
    model = network().float()
    of_batches = [(x, torch.stack([y.float(), one], 1)) for (x, y), one in zip(batches, scale.split(6), strict=True)]

    def loss_fn(outputs, targets):
        return PER_EXAMPLE(outputs, targets[:, 0].long()) * targets[:, 1]

    found = example_statistics(model, loss_fn, of_batches).sq_norm[12:18]
    alone = example_statistics(model, loss_fn, of_batches[2:3]).sq_norm
    np.testing.assert_allclose(found, alone, rtol=1e-6)


class Doubling(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_batches_stay_apart_under_a_mode_of_the_users_and_not_for_the_device_of_new_tensors(passed):
    with Doubling():
        gradient_statistics(network(), PER_EXAMPLE, sample(*[6] * 5))
    assert max(passed) == 6
    with torch.device("cpu"):
        gradient_statistics(network(), PER_EXAMPLE, sample(*[6] * 5))
    assert max(passed) == 24


def test_a_loss_that_writes_to_a_view_of_what_a_convolution_gave_is_measured():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten()).double()
    batches = [(torch.randn(4, 1, 2, 2).double(), torch.arange(4) % 3) for _ in range(4)]

    def loss_fn(outputs, targets):
        return PER_EXAMPLE(outputs.mul_(2.0), targets)

    assert_equal(gradient_statistics(model, loss_fn, batches), by_loop(model, batches, loss_fn))


def test_a_batch_that_is_none_is_told_of_after_what_is_wrong_before_it():
    batches = sample(*[6] * 5)
    batches[2][0][0] = torch.nan
    batches[4] = (batches[4][0], batches[4][1][:3])
    with pytest.raises(Exception, match="not finite"):
        gradient_statistics(network(), PER_EXAMPLE, batches)


@pytest.mark.parametrize(
    "more",
    [
        lambda model, outputs: model[0].weight.square().sum(),
        lambda model, outputs: model(torch.ones(len(outputs), D, dtype=torch.float64)).sum(1),
    ],
    ids=["decay", "second call"],
)
def test_weights_that_the_loss_uses_itself_keep_batches_apart(passed, more):
    def loss_fn(outputs, targets):
        return PER_EXAMPLE(outputs, targets) + more(model, outputs)

    batches, model = sample(*[6] * 5), network()
    assert_equal(gradient_statistics(model, loss_fn, batches), by_loop(model, batches, loss_fn))
    assert max(passed) == 6


def test_a_loss_may_write_to_its_outputs(passed):
    def loss_fn(outputs, targets):
        return PER_EXAMPLE(outputs.mul_(2.0), targets)

    batches, model = sample(*[6] * 5), network()
    assert_equal(gradient_statistics(model, loss_fn, batches), by_loop(model, batches, loss_fn))
    assert passed == [6, 24, 6, 6, 6, 6]  # the second counts for nothing


def test_a_loss_that_mixes_the_examples_of_later_batches_alone_is_refused_as_without_joining():
    calls = []

    def loss_fn(outputs, targets):
        calls.append(1)
        return PER_EXAMPLE(outputs - (outputs.mean(0) if len(calls) > 20 else 0.0), targets)

    with pytest.raises(UnsupportedModelError):
        gradient_statistics(network(), loss_fn, sample(*[6] * 40))


# Networks.


class OwnForward(nn.Sequential):
    def forward(self, x):
        return super().forward(x - x.mean(0) * 0)


def with_forward_of_its_own():
    model = nn.Sequential(nn.Linear(D, 3))
    model.forward = lambda x: model[0](x)
    return model


def with_a_hook():
    model = nn.Sequential(nn.Linear(D, 3), nn.Tanh())
    model[1].register_forward_hook(lambda layer, inputs, output: None)
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: OwnForward(nn.Linear(D, 3)),
        with_forward_of_its_own,
        with_a_hook,
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(D, 3))),
        lambda: nn.Sequential(nn.Linear(D, 3), nn.ModuleList([nn.Tanh()])[0], type("Tanh", (nn.Tanh,), {})()),
    ],
    ids=["a subclass", "a forward of its own", "a hook", "a parametrisation", "a layer's subclass"],
)
def test_batches_of_other_networks_stay_apart(passed, make):
    torch.manual_seed(1)
    model, batches = make().double(), sample(*[6] * 5)
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), by_loop(model, batches))
    assert max(passed) == 6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_batches_of_half_precision_stay_apart(passed, dtype):
    batches = [(x.to(dtype), y) for x, y in sample(*[6] * 8)]
    gradient_statistics(network().to(dtype), PER_EXAMPLE, batches)
    assert max(passed) == 6
    passed.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gradient_statistics(network().float(), PER_EXAMPLE, [(x.float(), y) for x, y in sample(*[6] * 8)])
    assert max(passed) == 6


def test_layers_that_are_called_twice_keep_batches_apart(passed):
    torch.manual_seed(1)
    layer = nn.Linear(D, D)
    model, batches = nn.Sequential(layer, nn.Tanh(), layer).double(), sample(*[6] * 5)
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), by_loop(model, batches))
    assert max(passed) == 6


def test_batches_go_together_through_layers_that_write_to_the_inputs_too(passed):
    torch.manual_seed(1)
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(D, 3)).double()
    gradient_statistics(model, PER_EXAMPLE, sample(*[6] * 5))
    assert passed == [6, 24]


# Where batches come from.


def test_what_a_loader_of_torch_hands_on_is_joined(passed):
    inputs, targets = (torch.cat(parts) for parts in zip(*sample(*[6] * 6), strict=True))
    data = TensorDataset(inputs, targets)
    for loader in (DataLoader(data, 6), DataLoader(Subset(data, range(36)), 6)):
        passed.clear()
        gradient_statistics(network(), PER_EXAMPLE, loader)
        assert passed == [6, 30]


class Numbered(torch.Tensor):
    """A tensor of which each row is asked for by code of its own."""


class Named(tuple):
    __slots__ = ()


class Listed(list):
    pass


def of_code(data):
    class Collating:
        def __call__(self, parts):
            return [torch.stack(part) for part in zip(*parts, strict=True)]

    class InReverse(SequentialSampler):
        def __iter__(self):
            return iter(range(36))

    special = TensorDataset(data.tensors[0].as_subclass(Numbered), data.tensors[1])
    batches = list(DataLoader(data, 6))
    return {
        "generator": (batch for batch in batches),
        "list of its own": Listed(batches),
        "batches of a type of their own": [Named(batch) for batch in batches],
        "collation": DataLoader(data, 6, collate_fn=Collating()),
        "sampler": DataLoader(data, 6, sampler=InReverse(data)),
        "sampler of batches": DataLoader(data, batch_sampler=BatchSampler(InReverse(data), 6, drop_last=False)),
        "tensors of a type of their own": DataLoader(special, 6),
        "data set": DataLoader(type("Data", (TensorDataset,), {})(*data.tensors), 6),
    }


@pytest.mark.parametrize("name", of_code(TensorDataset(torch.zeros(1), torch.zeros(1))))
def test_where_code_of_the_users_may_run_from_one_batch_to_the_next_they_stay_apart(passed, name):
    inputs, targets = (torch.cat(parts) for parts in zip(*sample(*[6] * 6), strict=True))
    gradient_statistics(network(), PER_EXAMPLE, of_code(TensorDataset(inputs, targets))[name])
    assert passed == [6] * 6


def test_tensors_that_say_more_than_their_values_stay_apart(passed):
    batches = sample(*[6] * 4)
    for _, y in batches:
        y.scale = 3.0
    gradient_statistics(network(), PER_EXAMPLE, batches)
    assert passed == [6] * 4


def test_tensors_in_another_order_in_memory_stay_apart(passed):
    wide = torch.arange(48).reshape(6, 8) % 3
    batches = [(x, wide[:, i]) for i, (x, _) in enumerate(sample(*[6] * 4))]
    gradient_statistics(network(), PER_EXAMPLE, batches)
    assert passed == [6] * 4


def test_trees_of_tensors_stay_apart(passed):
    torch.manual_seed(1)
    batches = [((x,), {"labels": y}) for x, y in sample(*[6] * 4)]
    gradient_statistics(network(), lambda outputs, t: PER_EXAMPLE(outputs, t["labels"]), batches)
    assert max(passed) == 6
