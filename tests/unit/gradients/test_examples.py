"""`example_statistics` against the loop over single examples, and what it refuses."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mcoherence import example_statistics, gradient_statistics
from mcoherence.gradients import example_products
from mcoherence.gradients.batch import batch_products, kept_calls
from mcoherence.gradients.batch.evidence import IdentityError
from mcoherence.gradients.checks.batch_again import Batch
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.gradients.sweep import small_batches
from tests.unit.gradients.against_the_loop import same, snapshot

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
GROUPS = ("a", "b")


@pytest.fixture(autouse=True)
def float64_and_fixed_draws():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def per_token(outputs, targets):
    return F.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").sum(1)


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def batches_of(*sizes, shape=(4,)):
    return [(torch.randn(n, *shape), torch.randint(0, 3, (n,)), torch.arange(n) % 2) for n in sizes]


def rows_of(model, loss_fn, batches):
    """{parameter: float64 [n, elements]} of all batches by the loop."""
    found: dict[str, list] = {}
    for inputs, targets, *_ in batches:
        for name, value in per_example_gradients(model, loss_fn, inputs, targets).items():
            real = torch.view_as_real(value) if value.is_complex() else value
            found.setdefault(name, []).append(real.reshape(len(real), -1))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def flat(tensor):
    real = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    return real.reshape(-1).numpy()


def assert_as_the_loop(model, loss_fn, batches):
    """Squared norms by layer, and products with S, with a group's S and with the weights."""
    rows = rows_of(model, loss_fn, batches)
    ids = np.concatenate([batch[2].numpy() for batch in batches])
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = snapshot(model)
    found = example_statistics(
        model, loss_fn, batches, along={"sum": "sum", "b": "sum:b", "weights": weights}, groups=GROUPS
    )
    after = snapshot(model)
    assert [name for name in before if not same(before[name], after[name])] == []
    directions = {
        "sum": {name: value.sum(axis=0) for name, value in rows.items()},
        "b": {name: value[ids == 1].sum(axis=0) for name, value in rows.items()},
        "weights": {name: flat(p) for name, p in weights.items()},
    }
    assert found.group_ids.tolist() == ids.tolist()
    whole = np.sqrt(sum((value**2).sum() for value in rows.values()))
    for layer in found.layers:
        members = [name for name in rows if name.rpartition(".")[0] == layer]
        squared = sum((rows[name] ** 2).sum(axis=1) for name in members)
        np.testing.assert_allclose(found.sq_norm_by_layer[layer], squared, rtol=1e-9, atol=1e-20 * whole**2)
        for direction, tensors in directions.items():
            products = sum(rows[name] @ tensors[name] for name in members)
            length = np.sqrt(sum((tensors[name] ** 2).sum() for name in members))
            np.testing.assert_allclose(
                found.dot_by_layer[direction][layer], products, rtol=1e-9, atol=1e-12 * whole * length
            )
    assert found.sq_norm == pytest.approx(sum(found.sq_norm_by_layer.values()))
    assert found.dot["b"] == pytest.approx(sum(found.dot_by_layer["b"].values()))
    return found


def frozen_bias():
    model = mlp()
    model[0].bias.requires_grad_(False)
    return model


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=2, stride=2, bias=False), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


class Transformer(nn.Module):
    """Class token, position embedding, attention, and a scale of shape [], which goes through the whole model."""

    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 6, 8))
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        self.head, self.scale = nn.Linear(8, 3), nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        x = self.norm(torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place)
        return self.head((x + self.attention(x, x, x)[0]).mean(1)) * self.scale.exp()


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


class Tied(nn.Module):
    """Embedding and head share a weight, whose padding row has no gradient from the embedding."""

    def __init__(self):
        super().__init__()
        self.embedding, self.mix = nn.Embedding(7, 6, padding_idx=0), nn.Linear(6, 6)
        self.head = nn.Linear(6, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(F.gelu(self.mix(self.embedding(tokens))))


class Square(torch.autograd.Function):
    """Without a formula for forward mode; can be differentiated twice."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


class SquareOnce(Square):
    """Can be differentiated once."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


class Squaring(nn.Module):
    """A weight that is used by a function and then in a way that the graph does not show, so by the whole model."""

    def __init__(self, function):
        super().__init__()
        self.function, self.first, self.weight = function, nn.Linear(4, 3), nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        return torch.cdist(torch.tanh(self.first(x)), self.function.apply(self.weight), p=1.0)


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(4, 5, dtype=torch.complex128)), nn.Linear(5, 3)

    def forward(self, x):
        return self.head((x.to(torch.complex128) @ self.weight).abs())


def clipping_hook():
    model = mlp()
    model[2].weight.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
    return model


def twice():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (mlp, (4,)), (frozen_bias, (4,)), (convolutional, (1, 6, 6)), (Transformer, (5, 8)), (Recurrent, (6, 4)),
        (lambda: Squaring(Square), (4,)), (lambda: Squaring(SquareOnce), (4,)), (Complex, (4,)), (clipping_hook, (4,)),
        (twice, (4,)), (lambda: nn.Sequential(nn.Linear(4, 5), nn.PReLU(5), nn.Linear(5, 3)), (4,)),
        (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Linear(5, 3)), (4,)),
    ],
    ids=[
        "mlp", "frozen", "convolutional", "transformer", "recurrent", "double-backward", "by-rows", "complex", "hook",
        "twice", "no-rule", "weight-norm",
    ],
)  # fmt: skip
def test_norms_and_products_are_those_of_the_loop(build, shape):
    assert_as_the_loop(build(), PER_EXAMPLE, batches_of(3, 4, 1, shape=shape))


def test_tied_weights_and_losses_summed_over_tokens():
    tokens = [torch.randint(0, 7, (n, 5)) for n in (3, 4)]
    batches = [(one, one.roll(-1, 1), torch.arange(len(one)) % 2) for one in tokens]
    assert_as_the_loop(Tied(), per_token, batches)


def test_a_tied_weight_is_known_by_each_of_its_names_and_is_one_direction():
    tokens = torch.randint(0, 7, (3, 5))
    model, weight, batches = Tied(), torch.randn(7, 6), [(tokens, tokens.roll(-1, 1))]
    along = {name: {f"{name}.weight": weight} for name in ("embedding", "head")}
    found = example_statistics(model, per_token, batches, along=along)
    np.testing.assert_allclose(found.dot["head"], found.dot["embedding"])
    assert found.dot["head"].all()
    other = {"w": {"embedding.weight": weight, "head.weight": 2 * weight}}
    with pytest.raises(ValueError, match=r"two different tensors for 'embedding\.weight' and 'head\.weight'"):
        example_statistics(model, per_token, batches, along=other)


def test_frozen_parameters_of_a_direction_are_left_out():
    model, batches = frozen_bias(), [batch[:2] for batch in batches_of(3)]
    every = example_statistics(model, PER_EXAMPLE, batches, along={"w": dict(model.named_parameters())})
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert (
        every.dot["w"].tolist()
        == example_statistics(model, PER_EXAMPLE, batches, along={"w": trained}).dot["w"].tolist()
    )


def test_a_second_pass_gives_what_kept_calls_give(monkeypatch):
    model, batches = convolutional(), batches_of(3, 4, shape=(1, 6, 6))
    one = example_statistics(model, PER_EXAMPLE, batches, along="sum", groups=GROUPS)
    monkeypatch.setattr(example_products, "MOST_BYTES", 0)
    again = example_statistics(model, PER_EXAMPLE, batches, along="sum", groups=GROUPS)
    np.testing.assert_allclose(one.products, again.products, rtol=1e-12)


def test_no_more_is_kept_than_the_bound(monkeypatch):
    sizes = []
    plain = kept_calls.KeptCalls.products
    monkeypatch.setattr(
        kept_calls.KeptCalls, "products", lambda self, *given: sizes.append(self.size) or plain(self, *given)
    )
    one_batch = 8 * 3 * (4 + 5 + 5 + 3)  # inputs and output gradients of two layers, float64, 3 examples
    monkeypatch.setattr(example_products, "MOST_BYTES", 2 * one_batch)
    monkeypatch.setattr(small_batches, "MOST_NUMBERS", 0)
    example_statistics(mlp(), PER_EXAMPLE, [batch[:2] for batch in batches_of(*[3] * 5)], along="sum")
    assert sizes == [one_batch] * 2


def test_inputs_that_are_overwritten_after_their_pass_are_read_again():
    given = batches_of(3, 3)
    buffer = torch.empty(3, 4)

    class Reusing:
        def __iter__(self):
            for inputs, targets, _ in given:
                yield buffer.copy_(inputs), targets

    model = mlp()
    expected = example_statistics(model, PER_EXAMPLE, [batch[:2] for batch in given], along="sum", spot_check=0)
    found = example_statistics(model, PER_EXAMPLE, Reusing(), along="sum", spot_check=0)
    np.testing.assert_allclose(found.products, expected.products, rtol=1e-12)


def test_sums_are_those_of_gradient_statistics():
    model, batches = mlp(), batches_of(3, 4)
    sums = gradient_statistics(model, PER_EXAMPLE, batches, groups=GROUPS)
    found = example_statistics(model, PER_EXAMPLE, batches, along=["sum", "sum:a"], groups=GROUPS)
    assert found.sq_norm.sum() == pytest.approx(sums.sum_sq_norm())
    assert found.dot["sum"].sum() == pytest.approx(sums.sq_norm_of_sum())
    assert found.dot["sum:a"][found.group_ids == 0].sum() == pytest.approx(sums.sq_norm_of_sum(groups=["a"]))
    assert found.fingerprint == sums.fingerprint


def test_leaving_one_out_takes_the_own_gradient_out_of_the_sums_it_is_in_and_of_nothing_else():
    model, batches = mlp(), batches_of(3, 4)
    along = {"sum": "sum", "a": "sum:a", "weights": dict(model.named_parameters())}
    whole = example_statistics(model, PER_EXAMPLE, batches, along=along, groups=GROUPS)
    without = example_statistics(model, PER_EXAMPLE, batches, along=along, groups=GROUPS, leave_one_out=True)
    assert without.dot["sum"] == pytest.approx(whole.dot["sum"] - whole.sq_norm)
    member = whole.group_ids == 0
    assert without.dot["a"] == pytest.approx(whole.dot["a"] - np.where(member, whole.sq_norm, 0.0))
    assert without.dot["weights"].tolist() == whole.dot["weights"].tolist()

    assert (whole.own_left_out, without.own_left_out) == ((), ("sum", "a"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("hidden", [(), (64,)])
def test_products_with_others_in_half_precision_are_those_by_hand_in_float64(dtype, hidden):
    """The same weights and inputs in float64, an example at a time: no product is so small that it would be rounding.

    S is known to a rounding of the dtype, 0.008 of it and 0.001.
    """
    torch.manual_seed(0)
    sizes = (64, *hidden, 10)
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())][:-1]
    model, inputs, targets = nn.Sequential(*layers).to(dtype), torch.randn(256, 64).to(dtype), torch.arange(256) % 10
    found = example_statistics(model, PER_EXAMPLE, [(inputs, targets)], along="sum", leave_one_out=True)

    rows = np.concatenate([*rows_of(model.double(), PER_EXAMPLE, [(inputs.double(), targets)]).values()], axis=1)
    whole = rows.sum(axis=0)
    expected = rows @ whole - (rows**2).sum(axis=1)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(whole)
    assert np.abs(found.dot["sum"] - expected).max() < torch.finfo(dtype).eps * lengths.max()
    assert (np.abs(expected) < 8 * torch.finfo(dtype).eps * lengths).any()  # some are small
    assert found.share_helped("sum") == pytest.approx((expected > 0).mean(), abs=0.01)
    assert (found.dot["sum"] != 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_examples_without_others_are_helped_by_none_of_them_whatever_rounding_says(dtype):
    """A sample of one, a group of one, and one example whose loss alone counts: rounding is told as 0."""
    torch.set_default_dtype(dtype)

    def weighted(outputs, targets):
        return PER_EXAMPLE(outputs, targets[:, 0]) * targets[:, 1]

    model = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 3))
    for _ in range(10):
        inputs, labels = torch.randn(5, 30), torch.randint(0, 3, (5,))
        one = example_statistics(model, PER_EXAMPLE, [(inputs[:1], labels[:1])], along="sum", leave_one_out=True)
        ids = torch.tensor([0, 1, 1, 1, 1])
        grouped = example_statistics(
            model, PER_EXAMPLE, [(inputs, labels, ids)], ["sum", "sum:a"], leave_one_out=True, groups=GROUPS
        )
        targets = torch.stack([labels, (ids == 0).long()], dim=1)
        alone = example_statistics(model, weighted, [(inputs, targets)], along="sum", leave_one_out=True)
        assert one.dot["sum"].tolist() == [0.0]
        assert grouped.dot["sum:a"][0] == 0.0
        assert grouped.dot["sum"].all()
        assert alone.dot["sum"].tolist() == [0.0] * 5
        assert alone.share_helped("sum") == 0.0


def test_the_share_that_is_helped_is_of_a_direction_and_of_groups():
    batch = (torch.randn(40, 4), torch.randint(0, 3, (40,)), torch.arange(40) % 2)
    found = example_statistics(mlp(), PER_EXAMPLE, [batch], ["sum", "sum:b"], leave_one_out=True, groups=GROUPS)
    members = found.dot["sum:b"][1::2]
    assert 0.0 < found.share_helped("sum:b", groups=["b"]) == (members > 0).mean() < 1.0
    assert found.share_helped("sum") == (found.dot["sum"] > 0).mean()
    with pytest.raises(ValueError, match=r"direction: found 'all', expected one of \['sum', 'sum:b'\]"):
        found.share_helped("all")
    with pytest.raises(ValueError, match=r"groups: found \['c'\]"):
        found.share_helped("sum", groups=["c"])


def test_a_direction_of_one_layer_is_zero_in_the_others():
    model, batches = mlp(), [batch[:2] for batch in batches_of(3)]
    found = example_statistics(model, PER_EXAMPLE, batches, along={"head": {"2.weight": model[2].weight}})
    assert found.dot_by_layer["head"]["0"].tolist() == [0.0, 0.0, 0.0]
    rows = rows_of(model, PER_EXAMPLE, batches)
    assert found.dot["head"] == pytest.approx(rows["2.weight"] @ flat(model[2].weight))


def test_a_model_whose_losses_have_no_gradient_has_products_of_zero():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(x).detach()

    model, batches = Constant(), [batch[:2] for batch in batches_of(3, 1)]
    along = {"sum": "sum", "weights": dict(model.named_parameters())}
    found = example_statistics(model, PER_EXAMPLE, batches, along=along)
    assert not found.sq_norms.any()
    assert not found.products.any()


def test_float32_that_squares_would_leave_keeps_its_products():
    model = nn.Linear(2, 1, bias=False).float()
    inputs = torch.tensor([[1e-25, 0.0], [1e-25, 1e-25]], dtype=torch.float32)
    found = example_statistics(model, lambda out, _: out[:, 0], [(inputs, torch.zeros(2))], along="sum")
    assert found.dot["sum"] == pytest.approx([2e-50, 3e-50], rel=1e-5)  # S = (2e-25, 1e-25)


def test_wrong_products_of_a_layer_are_found_by_the_sum_alone(monkeypatch):
    plain = kept_calls.layer_products
    monkeypatch.setattr(
        kept_calls, "layer_products", lambda *given: {name: 1.1 * value for name, value in plain(*given).items()}
    )
    with pytest.raises(IdentityError, match="products of gradients with a direction"):
        example_statistics(mlp(), PER_EXAMPLE, [batches_of(3)[0][:2]], along="sum", spot_check=0)


def test_products_of_other_examples_are_found_by_the_spot_check(monkeypatch):
    plain = kept_calls.layer_products
    monkeypatch.setattr(
        kept_calls, "layer_products", lambda *given: {name: value.roll(1, 1) for name, value in plain(*given).items()}
    )
    with pytest.raises(IdentityError, match="products of gradients with a direction"):
        example_statistics(mlp(), PER_EXAMPLE, [batches_of(5)[0][:2]], along="sum")


def test_examples_at_the_kink_of_an_activation_pass_the_spot_check_by_their_losses_in_the_batch(monkeypatch):
    """As if rounding had put those that are passed alone on the other side of it."""
    plain = Batch.products_alone
    monkeypatch.setattr(
        Batch, "products_alone", lambda self, *given: {name: 0 * value for name, value in plain(self, *given).items()}
    )
    model, batches = mlp(), [batches_of(5)[0][:2]]
    found = example_statistics(model, PER_EXAMPLE, batches, along="sum")
    assert found.dot["sum"] == pytest.approx(
        example_statistics(model, PER_EXAMPLE, batches, "sum", spot_check=0).dot["sum"]
    )
    monkeypatch.setattr(Batch, "products_within", Batch.products_alone)
    with pytest.raises(IdentityError, match="products of gradients with a direction"):
        example_statistics(model, PER_EXAMPLE, batches, along="sum")


def test_ways_through_the_model_are_tried_in_turn(monkeypatch):
    used = []
    for name in ("_by_forward_mode", "_by_double_backward", "_by_vmap", "_by_loop"):
        plain = getattr(batch_products.ProductPasses, name)
        monkeypatch.setattr(
            batch_products.ProductPasses, name,
            lambda self, *given, name=name, plain=plain: used.append(name) or plain(self, *given),
        )  # fmt: skip
    example_statistics(Squaring(SquareOnce), PER_EXAMPLE, [batch[:2] for batch in batches_of(3, 3)], along="sum")
    # What failed in the first batch is not tried again in the second.
    assert used == ["_by_forward_mode", "_by_double_backward", "_by_vmap", "_by_loop", "_by_loop"]


class Shuffled:
    """A loader that shuffles."""

    def __init__(self):
        self.batches = [batch[:2] for batch in batches_of(3, 3)]

    def __iter__(self):
        self.batches.reverse()
        return iter(self.batches)


@pytest.mark.parametrize(
    ("batches", "along", "message"),
    [
        (lambda: iter([batches_of(3)[0][:2]]), "sum", "found an iterator"),
        (Shuffled, "sum", "found other losses in the second pass"),
        (lambda: [batches_of(3)[0][:2]], "mean", "found 'mean', expected one of 'sum'; sums of groups go with groups="),
        (lambda: [batches_of(3)[0][:2]], {"0.weight": torch.zeros(5, 4)}, "found a tensor for '0.weight'"),
        (
            lambda: [batches_of(3)[0][:2]],
            {"w": {"0.weight": torch.zeros(4, 5)}},
            r"found shape \(4, 5\) for '0.weight'",
        ),
        (lambda: [batches_of(3)[0][:2]], {"w": {"weight": torch.zeros(4)}}, "expected names of the model's parameters"),
        (lambda: [batches_of(3)[0][:2]], {"w": {"0.bias": torch.full((5,), torch.nan)}}, "not finite"),
        (lambda: [batches_of(3)[0][:2]], {"w": 3}, "found int for 'w'"),
    ],
)
def test_other_directions_and_batches_are_refused_in_one_line(monkeypatch, batches, along, message):
    monkeypatch.setattr(example_products, "MOST_BYTES", 0)
    with pytest.raises(ValueError, match=message):
        example_statistics(mlp(), PER_EXAMPLE, batches(), along=along)
