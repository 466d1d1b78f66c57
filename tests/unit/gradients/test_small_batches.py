"""Small batches of a small network go through it together, and nothing that comes out tells."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from mcoherence import example_gram, example_statistics, gradient_statistics
from mcoherence.gradients import small_batches
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.gradients.refusal import UnsupportedModelError

D = 4
PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


@pytest.fixture(autouse=True)
def joining(monkeypatch):
    monkeypatch.setattr(small_batches, "JOINS", True)


class Counting(nn.Module):
    """A small network that notes how many examples each of its passes has."""

    def __init__(self, only=None):
        super().__init__()
        self.layers, self.sizes, self.only = nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, 3)), [], only

    def forward(self, x):
        self.sizes.append(len(x))
        if self.only is not None and len(x) not in self.only:
            raise ValueError(f"found {len(x)} examples")
        return self.layers(x)


def sample(*sizes):
    torch.manual_seed(0)
    return [(torch.randn(n, D, dtype=torch.float64), torch.arange(n) % 3) for n in sizes]


def network(**options):
    torch.manual_seed(1)
    return Counting(**options).double()


def by_loop(model, batches):
    """{parameter: (Q, |S|^2)} of all examples, one by one."""
    rows = [per_example_gradients(model, PER_EXAMPLE, *batch) for batch in batches]
    return {
        name: (
            sum(float(one[name].square().sum()) for one in rows),
            float(sum(one[name].sum(0) for one in rows).square().sum()),
        )
        for name in rows[0]
    }


def assert_equal(found, expected):
    norms, sums = found.sum_sq_norm(by="parameter"), found.sq_norm_of_sum(by="parameter")
    assert {name: (norms[name], sums[name]) for name in norms} == {
        name: pytest.approx(values, rel=1e-12) for name, values in expected.items()
    }


def test_batches_after_the_first_go_together_and_sums_are_those_of_the_loop():
    batches, model = sample(7, 7, 7, 7, 3), network()
    expected = by_loop(model, batches)
    model.sizes.clear()
    found = gradient_statistics(model, PER_EXAMPLE, batches)
    # Of the first batch the gradient of an example, passed as twins and by itself, and half of it and one twice over.
    # The first of another size goes alone too, with the loss of an example; then of those joined the gradient of one.
    assert model.sizes == [7, 2, 1, 3, 2, 3, 2, 21, 2, 1]
    assert found.counts.tolist() == [31]
    assert_equal(found, expected)


def test_a_pass_stays_as_small_as_told(monkeypatch):
    # Of each example, D numbers and a label, four operations make 5, 5, 3 and 3 numbers, and its loss.
    monkeypatch.setattr(small_batches, "MOST_NUMBERS", 21 * (D + 1 + 5 + 5 + 3 + 3 + 1))
    model = network()
    gradient_statistics(model, PER_EXAMPLE, sample(*[7] * 8))
    assert [n for n in model.sizes if n > 7] == [21, 21]


def test_a_pass_holds_eight_batches_at_most_whatever_they_make():
    model = network()
    gradient_statistics(model, PER_EXAMPLE, sample(*[40] * 40))
    assert [n for n in model.sizes if n > 40] == [320, 320, 320, 320, 280]


def test_room_is_counted_for_each_shape(monkeypatch):
    class PerPosition(Counting):
        def forward(self, x):
            self.sizes.append(tuple(x.shape))
            return self.layers(x).mean(1)

    torch.manual_seed(1)
    model = PerPosition().double()
    short, long = ([(torch.randn(4, t, D).double(), torch.arange(4) % 3) for _ in range(5)] for t in (1, 50))
    monkeypatch.setattr(small_batches, "MOST_NUMBERS", 8 * 50 * (D + 5 + 5 + 3 + 1))  # two batches of the long ones
    gradient_statistics(model, PER_EXAMPLE, short + long)
    assert sorted(shape[:2] for shape in model.sizes if shape[0] > 4) == [(8, 50), (8, 50), (16, 1)]


def test_batches_of_other_shapes_dtypes_and_groups_stay_apart():
    class Summed(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head, self.seen = nn.Embedding(9, D), nn.Linear(D, 3), []

        def forward(self, x):
            self.seen.append(tuple(x.shape))
            return self.head(self.table(x.long()).sum(1))

    torch.manual_seed(0)
    model = Summed().double()
    inputs = [torch.randint(9, (4, t)) for t in (6, 6, 6, 5, 5, 6)]
    inputs[-2] = inputs[-2].to(torch.int32)
    batches = [(x, torch.arange(4) % 3) for x in inputs]
    expected = by_loop(model, batches)
    model.seen.clear()
    found = gradient_statistics(model, PER_EXAMPLE, batches)
    assert [shape for shape in model.seen if shape[0] > 4] == [(12, 6)]  # the last one with the second and third
    assert_equal(found, expected)
    model.seen.clear()
    ids = [torch.zeros(4), torch.zeros(4), torch.ones(4), torch.ones(4), torch.ones(4), torch.zeros(4)]
    of_groups = [(x, y, group.long()) for (x, y), group in zip(batches, ids, strict=True)]
    found = gradient_statistics(model, PER_EXAMPLE, of_groups, groups=["a", "b"])
    assert found.counts.tolist() == [12, 12]
    for group, chosen in (("a", (0, 1, 5)), ("b", (2, 3, 4))):
        exact = by_loop(model, [batches[i] for i in chosen])
        assert found.sum_sq_norm(groups=[group]) == pytest.approx(sum(q for q, _ in exact.values()), rel=1e-12)
        assert found.sq_norm_of_sum(groups=[group]) == pytest.approx(sum(s for _, s in exact.values()), rel=1e-12)


def test_a_loader_may_write_the_next_batch_where_the_last_one_was():
    batches = sample(5, 5, 5, 5)

    def in_one_place():
        inputs, targets = torch.empty(5, D, dtype=torch.float64), torch.empty(5, dtype=torch.int64)
        for x, y in batches:
            yield inputs.copy_(x), targets.copy_(y)

    model = network()
    assert_equal(gradient_statistics(model, PER_EXAMPLE, in_one_place()), by_loop(model, batches))


def test_a_model_that_takes_batches_of_one_size_is_measured_batch_by_batch():
    batches, model = sample(6, 6, 6, 6), network(only={1, 2, 6})
    expected = by_loop(model, batches)
    model.sizes.clear()
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), expected)
    assert model.sizes.count(18) == 1
    assert model.sizes.count(6) == 4


def test_what_is_wrong_with_a_batch_is_said_of_it_alone():
    batches = sample(6, 6, 6)
    batches[2][0][4, 1] = torch.nan
    with pytest.raises(Exception, match="not finite") as found:
        gradient_statistics(network(), PER_EXAMPLE, batches)
    with pytest.raises(type(found.value)) as alone:
        gradient_statistics(network(), PER_EXAMPLE, batches[2:])
    assert str(found.value) == str(alone.value)


def test_a_model_that_mixes_examples_is_refused_as_ever():
    class Centred(Counting):
        def forward(self, x):
            return super().forward(x - x.mean(0))

    torch.manual_seed(1)
    with pytest.raises(UnsupportedModelError):
        gradient_statistics(Centred().double(), PER_EXAMPLE, sample(6, 6, 6))


def test_a_parameter_is_looked_at_again_batch_by_batch_where_it_was_wrong_in_all_together():
    """Losses are right, and it has no gradient in the first batch: only its gradient in a later one tells."""

    class Late(Counting):
        def __init__(self):
            super().__init__()
            self.late = nn.Linear(D, 3)

        def forward(self, x):
            more = self.late(x)
            more = more if len(x) > 4 else more.detach()
            return super().forward(x) + (x[:, 3:] > 9) * more

    torch.manual_seed(1)
    model, batches = Late().double(), sample(6, 6, 6, 6)
    gradient_statistics(model, PER_EXAMPLE, batches)
    for x, _ in batches[1:]:
        x[:, 3] = 10
    with pytest.raises(UnsupportedModelError, match="late"):
        gradient_statistics(model, PER_EXAMPLE, batches)


@pytest.mark.parametrize("doubtful", [lambda x: x[x > 99], lambda x: torch.rand(1)], ids=["rows", "random numbers"])
def test_batches_of_which_a_pass_may_go_another_way_unseen_stay_apart(doubtful):
    class Reading(Counting):
        def forward(self, x):
            doubtful(x)
            return super().forward(x)

    torch.manual_seed(1)
    model, batches = Reading().double(), sample(6, 6, 6, 6)
    gradient_statistics(model, PER_EXAMPLE, batches)
    assert max(model.sizes) == 6


def test_batches_whose_pass_reads_a_value_go_together():
    class Reading(Counting):
        def forward(self, x):
            return super().forward(x) + (0.0 if bool((x > 99).any()) else 1.0)

    torch.manual_seed(1)
    model, batches = Reading().double(), sample(6, 6, 6, 6)
    expected = by_loop(model, batches)
    model.sizes.clear()
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), expected)
    assert [n for n in model.sizes if n > 6] == [18]


def test_examples_keep_their_places_norms_and_products():
    batches, model = sample(5, 5, 5, 4), network()
    rows = [per_example_gradients(model, PER_EXAMPLE, *batch) for batch in batches]
    norms = torch.cat([sum(g.flatten(1).square().sum(1) for g in one.values()) for one in rows])
    total = {name: sum(one[name].sum(0) for one in rows) for name in rows[0]}
    products = torch.cat([sum((g * total[name]).flatten(1).sum(1) for name, g in one.items()) for one in rows])
    found = example_statistics(model, PER_EXAMPLE, batches, along="sum")
    assert found.sq_norm == pytest.approx(norms.numpy(), rel=1e-12)
    assert found.dot["sum"] == pytest.approx(products.numpy(), rel=1e-10)


@pytest.mark.parametrize("spot_check", [0, 1])
def test_batches_of_one_example_are_the_examples_alone_whatever_the_model_does_with_others(spot_check):
    class Mixing(Counting):
        def forward(self, x):
            return super().forward(x / x.detach().abs().max().clamp(min=0.5))

    torch.manual_seed(1)
    batches, model = sample(*[1] * 9), Mixing().double()
    expected = by_loop(model, batches)
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches, spot_check=spot_check), expected)


def test_one_example_ahead_does_not_keep_others_apart():
    batches, model = sample(1, 7, 7, 7), network()
    expected = by_loop(model, batches)
    model.sizes.clear()
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), expected)
    assert [n for n in model.sizes if n > 7] == [14]


class Flagged(Counting):
    """Of an example whose first number is 0 the second layer is asked, and that mixes such examples."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(D, 3)

    def forward(self, x):
        asked = x[:, :1] == 0
        others = torch.where(asked, x, 0.0)
        return torch.where(asked, self.other(others - others.mean(0)), super().forward(x))


def test_a_check_that_fails_of_joined_batches_is_made_of_each_alone():
    torch.manual_seed(1)
    model, batches = Flagged().double(), sample(6, 6, 6)
    for x, _ in batches[1:]:
        x[:, 0] = 0.0
    with pytest.raises(UnsupportedModelError, match=r"other\.weight"):
        gradient_statistics(model, PER_EXAMPLE, batches)


@pytest.mark.parametrize("spot_check", [0, 1])
@pytest.mark.parametrize("grows", [False, True])
def test_a_model_that_is_right_for_few_positions_only_is_not_measured_with_more(spot_check, grows):
    """Whether longer examples come after short ones, of which as many are right, or from the start."""

    class Roomy(Counting):
        def forward(self, x):
            n, t, _ = x.shape
            scale = torch.ones(n * t, 1, dtype=x.dtype)
            scale[50:] = 2.0
            return super().forward(x.flatten(0, 1) * scale).unflatten(0, (n, t)).mean(1)

    torch.manual_seed(1)
    model = Roomy().double()
    lengths = [2] * 4 * grows + [8] * 5
    batches = [(torch.randn(6, t, D).double(), torch.arange(6) % 3) for t in lengths]
    expected = by_loop(model, batches)
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches, spot_check=spot_check), expected)


@pytest.mark.parametrize("spot_check", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_experts_of_a_fixed_capacity_are_measured_batch_by_batch(spot_check, seed):
    class Capacity(Counting):
        """A second expert has room for as many examples as a batch; no value is read to see which come to it."""

        def forward(self, x):
            second = (x[:, 0] > 1.2).long()
            return super().forward(x) * (second * second.cumsum(0) <= 6).to(x)[:, None]

    torch.manual_seed(1)
    model = Capacity().double()
    torch.manual_seed(seed)
    batches = [(torch.randn(6, D).double(), torch.arange(6) % 3) for _ in range(49)]
    expected = by_loop(model, batches)
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches, spot_check=spot_check), expected)


@pytest.mark.parametrize("spot_check", [0, 1])
@pytest.mark.parametrize("takes", ["the first row", "the largest number"])
def test_what_the_examples_of_a_batch_have_in_common_is_not_taken_for_that_of_others(spot_check, takes):
    class OfTask(Counting):
        def __init__(self):
            super().__init__()
            self.tasks = nn.Embedding(4, D)

        def forward(self, x, task):
            of_batch = task[:1] if takes == "the first row" else task.max()[None]
            return super().forward(x + self.tasks(of_batch))

    torch.manual_seed(1)
    model = OfTask().double()
    tasks = [*[0] * 20, *[1] * 20, 2, *[1] * 20]
    batches = [((torch.randn(8, D).double(), torch.full((8,), task)), torch.randint(3, (8,))) for task in tasks]
    expected = by_loop(model, batches)
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches, spot_check=spot_check), expected)


@pytest.mark.parametrize("sets", ["values", "gradients"])
def test_a_loader_that_sets_something_for_each_batch_finds_it_so_in_its_pass(sets):
    class OfTask(Counting):
        task = 1.0

        def forward(self, x):
            found = super().forward(x)
            return found * self.task if sets == "values" else found.detach() + self.task * (found - found.detach())

    def loader():
        for task, batch in enumerate(batches):
            model.task = 1.0 + task
            yield batch

    torch.manual_seed(1)
    batches, model, expected = sample(*[6] * 8), OfTask().double(), {}
    for task, batch in enumerate(batches):
        model.task = 1.0 + task
        for name, rows in per_example_gradients(model, PER_EXAMPLE, *batch).items():
            expected[name] = expected.get(name, 0.0) + float(rows.square().sum())
    found = gradient_statistics(model, PER_EXAMPLE, loader()).sum_sq_norm(by="parameter")
    assert found == {name: pytest.approx(q, rel=1e-12) for name, q in expected.items()}
    assert max(model.sizes) == 6


def test_what_a_loader_of_torch_hands_on_is_joined():
    inputs, targets = (torch.cat(parts) for parts in zip(*sample(*[6] * 6), strict=True))
    data = TensorDataset(inputs, targets)
    for loader in (DataLoader(data, 6), DataLoader(Subset(data, range(36)), 6)):
        model = network()
        gradient_statistics(model, PER_EXAMPLE, loader)
        assert [n for n in model.sizes if n > 6] == [30]
    model = network()
    gradient_statistics(model, PER_EXAMPLE, (batch for batch in DataLoader(data, 6)))
    assert max(model.sizes) == 6


def test_groups_that_alternate_are_joined_each():
    batches, model = sample(*[12] * 8), network()
    ids = torch.arange(12) % 2
    of_groups = [(x, y, ids) for x, y in batches]
    found = gradient_statistics(model, PER_EXAMPLE, of_groups, groups=["even", "odd"])
    assert [n for n in model.sizes if n > 6] == [12, 36, 48]  # 42 even ones go whole, 6 as the first of their size
    assert_equal(found, by_loop(model, batches))


def test_rows_of_examples_are_in_order_whichever_batches_wait():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(D, 3), nn.Tanh()).double()
    batches = [(torch.randn(4, *[3] * (i % 2), D).double(), torch.full((4,), float(i))) for i in range(6)]

    def loss(outputs, targets):
        return outputs.flatten(1).sum(1) * targets

    rows = [per_example_gradients(model, loss, *batch) for batch in batches]
    flat = torch.cat([torch.cat([g.flatten(1) for g in one.values()], 1) for one in rows])
    assert example_gram(model, loss, batches).products == pytest.approx((flat @ flat.T).numpy(), rel=1e-10, abs=1e-12)
    assert example_statistics(model, loss, batches).sq_norm == pytest.approx(flat.square().sum(1).numpy(), rel=1e-12)


def test_losses_that_are_not_numbers_are_the_same_when_their_batch_has_waited():
    def undefined_for_some(outputs, targets):
        return torch.where(targets == 0, torch.nan, PER_EXAMPLE(outputs, targets))

    batches, model = sample(6, 6), network()
    found = gradient_statistics(model, undefined_for_some, batches, spot_check=0)
    assert found.counts.tolist() == [12]


@torch.jit.script
def doubled_where_large(x: torch.Tensor) -> torch.Tensor:
    if bool((x[:, 0] > 5).any()):
        return 2.0 * x
    return x


def test_values_that_no_function_mode_sees_read_keep_batches_apart():
    class Scripted(Counting):
        def forward(self, x):
            return super().forward(doubled_where_large(x))

    torch.manual_seed(1)
    model, batches = Scripted().double(), sample(*[6] * 40)
    for x, _ in batches[20::3]:
        x[:, 0] = 10.0
    expected = by_loop(model, batches)
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_batches_of_half_precision_stay_apart(dtype):
    torch.manual_seed(1)
    model = Counting().to(dtype)
    gradient_statistics(model, PER_EXAMPLE, [(x.to(dtype), y) for x, y in sample(*[6] * 8)])
    assert max(model.sizes) == 6


def test_no_more_than_eight_go_together_where_they_shrink():
    model = network()
    gradient_statistics(model, PER_EXAMPLE, sample(100, 100, *[2] * 40))
    assert [n for n in model.sizes if n > 2] == [100, 16, 100 + 7 * 2, *[8 * 2] * 4]  # the first 16 in a check


def test_what_a_convolution_unfolds_takes_room(monkeypatch):
    class Images(Counting):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(1, 2, 5, padding=2), nn.Flatten(), nn.Linear(2 * 64, 3))

    torch.manual_seed(1)
    model = Images().double()
    batches = [(torch.randn(4, 1, 8, 8).double(), torch.arange(4) % 3) for _ in range(9)]
    monkeypatch.setattr(small_batches, "MOST_NUMBERS", 8 * 64 * (25 + 1 + 2 + 1))
    gradient_statistics(model, PER_EXAMPLE, batches)
    assert [n for n in model.sizes if n > 4] == [8] * 4


def test_modes_are_put_back_before_batches_go_one_by_one():
    class Leaving(Counting):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, x):
            if len(x) > 6:
                self.dropout.train()
                raise ValueError("too many")
            return super().forward(self.dropout(x))

    torch.manual_seed(1)
    model, batches = Leaving().double(), sample(*[6] * 4)
    expected = by_loop(model, batches)
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), expected)


@pytest.mark.parametrize("spot_check", [0, 1])
def test_a_model_whose_gradients_alone_are_others_for_more_examples_is_measured_batch_by_batch(spot_check):
    class Halved(Counting):
        def forward(self, x):
            found = super().forward(x)
            return found if len(x) <= 8 else (found + found.detach()) / 2

    torch.manual_seed(1)
    model, batches = Halved().double(), sample(*[6] * 6)
    expected = by_loop(model, batches)
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches, spot_check=spot_check), expected)


def test_without_a_spot_check_losses_that_depend_on_the_size_are_those_of_the_batches_handed_in():
    def over_size(outputs, targets):
        return PER_EXAMPLE(outputs, targets) / len(targets)

    batches, model = sample(6, 6, 6, 6), network()
    found = gradient_statistics(model, over_size, batches, spot_check=0)
    assert_equal(found, {name: (q / 36, s / 36) for name, (q, s) in by_loop(model, batches).items()})


def test_a_buffer_that_grows_with_the_batch_is_put_back_before_batches_go_one_by_one():
    class Growing(Counting):
        def __init__(self):
            super().__init__()
            self.register_buffer("ones", torch.ones(8, dtype=torch.float64))

        def forward(self, x):
            if len(self.ones) < len(x):
                self.ones = torch.ones(len(x), dtype=x.dtype)
            return super().forward(x) * self.ones[: len(x), None]

    torch.manual_seed(1)
    model, batches = Growing().double(), sample(6, 6, 6, 6)
    expected = by_loop(model, batches)
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), expected)
    assert len(model.ones) == 8


@pytest.mark.parametrize("scales", [[1.0, 2.0, 3.0], [None, None, 3.0]])
def test_tensors_that_say_something_of_their_batch_stay_apart(scales):
    class Scaled(torch.Tensor):
        """A tensor with the scale of a batch, which is that of all that is made of it."""

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            made = super().__torch_function__(func, types, args, kwargs)
            flat = [one for arg in args for one in (arg if isinstance(arg, list | tuple) else (arg,))]
            scales = [one.scale for one in flat if isinstance(one, Scaled) and "scale" in vars(one)]
            if isinstance(made, Scaled) and scales:
                made.scale = scales[0]
            return made

    class Scaling(Counting):
        def forward(self, x):
            return super().forward(x.as_subclass(torch.Tensor) * getattr(x, "scale", 1.0))

    torch.manual_seed(1)
    model, batches, scaled = Scaling().double(), sample(6, 6, 6), []
    for (x, y), scale in zip(batches, scales, strict=True):
        scaled.append((x if scale is None else x.as_subclass(Scaled), y))
        if scale is not None:
            scaled[-1][0].scale = scale
    expected = by_loop(model, [(x * (scale or 1.0), y) for (x, y), scale in zip(batches, scales, strict=True)])
    assert_equal(gradient_statistics(model, PER_EXAMPLE, scaled), expected)


def test_plain_tensors_with_attributes_of_their_own_stay_apart():
    def scaled(outputs, targets):
        return PER_EXAMPLE(outputs, targets) * getattr(targets, "scale", 1.0)

    batches, model = sample(6, 6, 6), network()
    expected = by_loop(model, batches[:1])
    for name, (q, s) in by_loop(model, batches[1:]).items():
        expected[name] = (expected[name][0] + 9.0 * q, s)
    for _, y in batches[1:]:
        y.scale = 3.0
    found = gradient_statistics(model, scaled, batches, spot_check=0)  # a row of the targets has no attributes
    assert found.sum_sq_norm(by="parameter") == {name: pytest.approx(q, rel=1e-12) for name, (q, _) in expected.items()}


def test_a_tensor_that_requires_a_gradient_stays_apart_from_one_that_does_not():
    class Asking(Counting):
        def forward(self, x):
            return super().forward(x * (2.0 if x.requires_grad else 1.0))

    torch.manual_seed(1)
    model, batches = Asking().double(), sample(6, 6, 6)
    expected = by_loop(model, [*batches[:2], (2.0 * batches[2][0], batches[2][1])])
    batches[2][0].requires_grad_()
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), expected)


class WideInputs(Counting):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1000, 2), nn.Linear(2, 3))


class WideFrozenLayer(Counting):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(D, 1000).requires_grad_(False), nn.Linear(1000, 3))


class WideOutputsBesides(Counting):
    """What its loss does not take."""

    def __init__(self):
        super().__init__()
        self.besides = nn.Linear(D, 1000)

    def forward(self, x):
        self.besides(x)
        return super().forward(x)


@pytest.mark.parametrize("network", [WideInputs, WideFrozenLayer, WideOutputsBesides])
def test_what_no_operation_under_the_losses_makes_takes_room_too(monkeypatch, network):
    torch.manual_seed(1)
    model = network().double()
    inputs = next(model.parameters()).shape[1] if network is WideInputs else D
    batches = [(torch.randn(7, inputs).double(), torch.arange(7) % 3) for _ in range(7)]
    monkeypatch.setattr(small_batches, "MOST_NUMBERS", 14 * 1100)
    gradient_statistics(model, PER_EXAMPLE, batches)
    assert [n for n in model.sizes if n > 7] == [14, 14, 14]


@pytest.mark.parametrize(
    ("hiding", "joined"),
    [
        (lambda: nn.LSTM(D, 3, batch_first=True), False),
        (lambda: nn.GRU(D, 3, batch_first=True), False),
        (lambda: nn.RNN(D, 3, batch_first=True), False),
        (lambda: nn.TransformerEncoderLayer(D, 2, 3, batch_first=True), True),
    ],
    ids=["lstm", "gru", "rnn", "attention"],
)
@pytest.mark.parametrize("place", ["frozen", "frozen above a trained layer", "trained"])
def test_batches_of_layers_that_hide_what_they_make_stay_apart_where_no_graph_shows_it(hiding, joined, place):
    class OverTime(Counting):
        def __init__(self):
            super().__init__()
            self.below = nn.Linear(D, D) if "above" in place else nn.Identity()
            self.hiding = hiding().requires_grad_(place == "trained")
            self.head = nn.LazyLinear(3)

        def forward(self, x):
            self.sizes.append(len(x))
            found = self.hiding(self.below(x))
            return self.head((found[0] if isinstance(found, tuple) else found).sum(1))

    torch.manual_seed(0)
    batches = [(torch.randn(6, 5, D).double(), torch.arange(6) % 3) for _ in range(4)]
    model = OverTime().double()
    model(batches[0][0])
    expected = by_loop(model, batches)
    model.sizes.clear()
    assert_equal(gradient_statistics(model, PER_EXAMPLE, batches), expected)
    assert [n for n in model.sizes if n > 6] == ([18] if joined and place != "frozen" else [])


def test_numpy_may_write_the_next_batch_where_the_last_one_was():
    class InOnePlace:
        def __init__(self, batches):
            self.batches = batches

        def __iter__(self):
            place = np.empty((5, D))
            for x, y in self.batches:
                place[:] = x.numpy()
                yield torch.from_numpy(place), y

    batches, model = sample(5, 5, 5, 5), network()
    rows = [per_example_gradients(model, PER_EXAMPLE, *batch) for batch in batches]
    flat = torch.cat([torch.cat([g.flatten(1) for g in one.values()], dim=1) for one in rows])
    found = example_statistics(model, PER_EXAMPLE, InOnePlace(batches), along="sum")
    assert found.dot["sum"] == pytest.approx((flat @ flat.sum(0)).numpy(), rel=1e-10)
    assert example_gram(model, PER_EXAMPLE, InOnePlace(batches)).products == pytest.approx(
        (flat @ flat.T).numpy(), rel=1e-10, abs=1e-12
    )
