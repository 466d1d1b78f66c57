"""Parameters measured at their uses in the graph: each way of use equals the loop, without the whole model."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from mcoherence import example_statistics, gradient_statistics
from mcoherence.gradients.reference import per_example_gradients
from tests.unit.gradients.model_of_function import Cut, Model, bare

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
N, T, D = 5, 4, 6


class Recurrent(nn.Module):
    def __init__(self, inner, pooled):
        super().__init__()
        self.inner, self.pooled = inner, pooled

    def forward(self, x):
        return self.pooled(self.inner, x)


def last_output(inner, x):
    return inner(x)[0][:, -1]


def first_output_of_positions_first(inner, x):
    return inner(x.transpose(0, 1))[0][0]


def hidden_state(inner, x):
    found = inner(x)[1]
    return (found[0] + found[1] if isinstance(found, tuple) else found).sum(0)


def cells(inner, x):
    state = None
    for t in range(x.shape[1]):
        state = inner(x[:, t], state)
    return state[0] if isinstance(state, tuple) else state


def recurrent(kind, pooled=last_output, **options):
    options["batch_first"] = pooled is not first_output_of_positions_first
    return lambda: Recurrent(kind(D, D, **options), pooled)


def tied_head(m, x):
    tokens = (x * 3).long().abs().sum(2) % 7
    return m.head(m.table(tokens)).mean(1) + F.linear(m.table(tokens[:, :2]), m.table.weight).sum(1)


def tied(padding_idx=None):
    model = Model(tied_head, table=nn.Embedding(7, D, padding_idx=padding_idx), head=nn.Linear(D, 7, bias=False))
    model.head.weight = model.table.weight
    return model


def there_and_back(m, x):
    return (F.linear(F.linear(x, m.a.weight).tanh(), m.a.weight.T)).mean(1)


def buckets(m, x):
    """Relative positions: a table is looked up for pairs of positions, and added to the scores of all examples."""
    distance = (torch.arange(T)[:, None] - torch.arange(T)[None]).abs()
    scores = x @ x.transpose(1, 2) + m.table(distance)[..., 0] + m.table(distance.flatten()).reshape(T, T, D)[..., 1]
    return (scores.softmax(-1) @ m.a(x)).mean(1)


def positions(m, x):
    """A table is looked up once for all examples, some rows twice, one of padding."""
    return m.a(x + m.table(torch.tensor([2, 0, 1, 2]))).tanh().mean(1)


def bags(m, x):
    """Bags of rows of a table: of as many each, averaged; of other sizes and none, weighted; some rows are padding."""
    rows = (x * 3).long().abs() % 7
    sizes = rows[:, 0, 0] % (T + 1)
    held = torch.arange(T) < sizes[:, None]
    starts, flat, weights = sizes.cumsum(0) - sizes, rows[..., 0][held], x[..., 1].sin()[held]
    some = F.embedding_bag(flat, m.table.weight, starts, mode="sum", per_sample_weights=weights, padding_idx=2)
    return m.mean(rows[:, 0]) + some + m.table(rows[:, 1]) + F.embedding_bag(rows[:, 2], m.table.weight, padding_idx=0)


def no_positions(m, x):
    """A table is looked up nowhere, and stands before what is added to all examples."""
    rows = torch.cat([m.table(torch.arange(0)), torch.zeros(T, D, dtype=x.dtype)])
    return m.a(x + rows).tanh().mean(1)


def low_rank(m, x):
    return (x @ m.w + (x @ m.down) @ m.up).tanh().mean(1)


def as_matrices(m, x):
    """Weights of other shapes than the matrices as which they are used."""
    tokens = (x * 3).long().abs().sum(2) % 7
    pooled = (x @ m.query[:, None]).softmax(1) * F.embedding(tokens, m.table.view(-1, D))
    return F.linear(x, m.heads.view(-1, D)).mean(1) + (pooled @ m.square.squeeze(0) @ m.square.squeeze(0)).sum(1)


def cut_off(m, x):
    """Of two uses that are alike one gets no gradient."""
    return Cut.apply(x @ m.w + m.gain).mean(1) + (x.sin() @ m.w + m.gain).tanh().mean(1)


def two_views(m, x):
    return F.linear(x, m.w.view(-1, D)).mean(1) + x.mean(1) @ m.w.view(D, -1)


class Sine(torch.autograd.Function):
    """Without a rule for many gradients at once."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return torch.from_numpy(grad.numpy() * ctx.saved_tensors[0].detach().cos().numpy())


def moduli(m, x):
    """Pairs of features as complex numbers; afterwards positions are told apart."""
    pairs = torch.view_as_complex((x @ m.w + m.gain).unflatten(-1, (-1, 2)).contiguous())
    return pairs.abs().cumsum(1)[:, -1]


def transposed_back(m, x):
    """The strides of a transposed tensor put back, where examples are as many as features."""
    y = x[:, 0] + m.gain[0]
    return m.w.sum() * (y.t().as_strided(y.shape, y.stride()) if len(y) == D else y).tanh()


def masked(m, x, **mask):
    return m.a(x, x, x, **mask)[0].mean(1)


def attention(**options):
    return nn.MultiheadAttention(D, 2, batch_first=True, **options)


def encoder():
    layer = nn.TransformerEncoderLayer(D, 2, 8, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


LATER, SCORES = torch.ones(T, T).triu(1).bool(), torch.linspace(-1, 1, T * T, dtype=torch.float64).reshape(T, T)
USES = {
    "lstm": recurrent(nn.LSTM),
    "lstm, two layers, both ways, positions first": recurrent(
        nn.LSTM, first_output_of_positions_first, num_layers=2, bidirectional=True
    ),
    "lstm with a projection, its states": recurrent(nn.LSTM, hidden_state, num_layers=2, bias=False),
    "lstm projected": recurrent(nn.LSTM, proj_size=3),
    "gru, two layers, both ways": recurrent(nn.GRU, num_layers=2, bidirectional=True),
    "rnn, its state": recurrent(nn.RNN, hidden_state, nonlinearity="relu", bias=False),
    "cells of an lstm": lambda: Recurrent(nn.LSTMCell(D, D), cells),
    "cells of a gru": lambda: Recurrent(nn.GRUCell(D, D), cells),
    "tied head": tied,
    "tied head with padding": lambda: tied(padding_idx=1),
    "there and back": lambda: Model(there_and_back, a=nn.Linear(D, 3, bias=False)),
    "relative positions": lambda: Model(buckets, table=nn.Embedding(T, D), a=nn.Linear(D, D)),
    "positions": lambda: Model(positions, table=nn.Embedding(6, D), a=nn.Linear(D, D)),
    "bags": lambda: Model(bags, table=nn.EmbeddingBag(7, D, mode="sum"), mean=nn.EmbeddingBag(7, D, mode="mean")),
    "no positions": lambda: Model(no_positions, table=nn.Embedding(6, D), a=nn.Linear(D, D)),
    "positions with padding": lambda: Model(positions, table=nn.Embedding(6, D, padding_idx=1), a=nn.Linear(D, D)),
    "low rank beside a bare weight": lambda: Model(low_rank, w=bare(D, D), down=bare(D, 2), up=bare(2, D)),
    "gain that is one and more": lambda: Model(lambda m, x: (x * (1 + m.gain)).tanh().mean(1), gain=bare(D)),
    "three calls": lambda: Model(lambda m, x: m.a(m.a(m.a(x).tanh()).tanh()).mean(1), a=nn.Linear(D, D)),
    "calls of other lengths": lambda: Model(lambda m, x: m.a(x[:, 0]) + m.a(x).mean(1), a=nn.Linear(D, D)),
    "causal mask": lambda: Model(lambda m, x: masked(m, x, attn_mask=LATER, need_weights=False), a=attention()),
    "mask of scores": lambda: Model(lambda m, x: masked(m, x, attn_mask=SCORES), a=attention(bias=False)),
    "padding": lambda: Model(lambda m, x: masked(m, x, key_padding_mask=x[..., 0] > 1), a=attention()),
    "encoder with padding": lambda: Model(lambda m, x: m.e(x, src_key_padding_mask=x[..., 0] > 1).mean(1), e=encoder()),
    "weights of other shapes than a matrix": lambda: Model(
        as_matrices, query=bare(D), table=bare(2, 4, D), heads=bare(2, 3, D), square=bare(1, D, D)
    ),
    "two views of a weight": lambda: Model(two_views, w=bare(2, 12)),
    "examples turned round and back": lambda: Model(
        lambda m, x: m.a(x.repeat(1, 8, 1)).flip(0).flip(0).tanh().mean(1), a=nn.Linear(D, D)
    ),
    "a use without a gradient": lambda: Model(cut_off, w=bare(D, D), gain=bare(D)),
    "somebody's function of a weight": lambda: Model(
        lambda m, x: (x + Sine.apply(m.gain)).tanh().mean(1), gain=bare(D)
    ),
}


def problem(name):
    torch.manual_seed(0)
    model = USES[name]().double()
    return model, torch.randn(N, T, D, dtype=torch.float64), torch.arange(N) % 3


@pytest.mark.parametrize("name", USES)
def test_norms_sums_and_products_equal_the_loop_without_the_whole_model(name):
    model, inputs, targets = problem(name)
    batches = [(inputs[:2], targets[:2]), (inputs[2:], targets[2:])]
    found = gradient_statistics(model, PER_EXAMPLE, batches)
    assert found.evidence.by_whole_model == ()
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, targets)
    whole = sum(float(g.square().sum()) for g in rows.values())
    norms, sums = found.sum_sq_norm(by="parameter"), found.sq_norm_of_sum(by="parameter")
    for key, g in rows.items():
        assert norms[key] == pytest.approx(float(g.square().sum()), rel=1e-10, abs=1e-25 * whole), key
        assert sums[key] == pytest.approx(float(g.sum(0).square().sum()), rel=1e-10, abs=1e-25 * whole), key
    flat = torch.cat([g.flatten(1) for g in rows.values()], dim=1)
    along_sum = example_statistics(model, PER_EXAMPLE, batches, along="sum").products[0].sum(axis=-1)
    assert along_sum == pytest.approx((flat @ flat.sum(0)).numpy(), rel=1e-9, abs=1e-12 * whole)


def packed(inner, x):
    lengths = (x[..., 0] > -1).sum(1).clamp_min(1)
    return inner(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1][0].sum(0)


def within_checkpoint(m, x):
    return checkpoint(lambda x: F.linear(x, m.w).tanh() * m.gain, x, use_reentrant=False).mean(1)


@pytest.mark.parametrize(("forward", "as_many"), [(moduli, T), (transposed_back, D)])
def test_examples_are_followed_where_they_are_as_many_as_another_axis_has_entries(forward, as_many):
    torch.manual_seed(0)
    model = Model(forward, w=bare(D, D), gain=bare(D)).double()
    inputs, targets = torch.randn(3 + as_many, T, D, dtype=torch.float64), torch.arange(3 + as_many) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs[:3], targets[:3]), (inputs[3:], targets[3:])])
    for name, g in per_example_gradients(model, PER_EXAMPLE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter")[name] == pytest.approx(float(g.square().sum()), rel=1e-10), name


def sparse_rows(m, x):
    return torch.mm((x.mean(1) * (x.mean(1) > 0)).to_sparse(), m.w)


@pytest.mark.parametrize(
    "build",
    [
        recurrent(nn.LSTM, packed),
        lambda: Model(within_checkpoint, w=bare(D, D), gain=bare(D)),
        lambda: Model(sparse_rows, w=bare(D, D)),
    ],
    ids=["packed sequences", "weights within a checkpoint", "sparse rows"],
)
def test_uses_that_do_not_show_their_examples_are_left_to_the_whole_model(build):
    torch.manual_seed(0)
    model, inputs, targets = build().double(), torch.randn(N, T, D, dtype=torch.float64), torch.arange(N) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert found.evidence.by_whole_model
    for key, g in per_example_gradients(model, PER_EXAMPLE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter")[key] == pytest.approx(float(g.square().sum()), rel=1e-10), key


def test_an_lstm_in_float32_is_measured_at_its_uses_and_left_to_one_dnn_afterwards():
    model, inputs, targets = problem("lstm")
    exact = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    before = torch._C._get_mkldnn_enabled()
    found = gradient_statistics(model.float(), PER_EXAMPLE, [(inputs.float(), targets)])
    assert torch._C._get_mkldnn_enabled() == before
    assert found.evidence.by_whole_model == ()
    assert found.sum_sq_norms == pytest.approx(exact.sum_sq_norms, rel=1e-4)


def scaled_by_one_sequence(m, x):
    """The same sequence for all examples, read inside of vmap, which it does not depend on."""
    start = torch.zeros(1, 1, D, dtype=x.dtype)
    sequence = torch.linspace(-1, 1, T * D, dtype=x.dtype).view(T, 1, D)
    return torch.func.vmap(lambda one: one * m.lstm(sequence, (start, start))[0][-1, 0])(x.mean(1))


def test_a_recurrent_layer_that_a_model_calls_inside_of_vmap_is_measured():
    torch.manual_seed(0)
    model = Model(scaled_by_one_sequence, lstm=nn.LSTM(D, D)).double()
    inputs, targets = torch.randn(N, T, D, dtype=torch.float64), torch.arange(N) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    for key, g in per_example_gradients(model, PER_EXAMPLE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter")[key] == pytest.approx(float(g.square().sum()), rel=1e-10), key


def test_products_of_a_weight_that_is_used_in_a_wider_precision_equal_the_loop():
    torch.manual_seed(0)
    model = Model(lambda m, x: (x.double() @ m.w.double()).float().tanh().mean(1), w=bare(D, D))
    inputs, targets, along = torch.randn(N, T, D), torch.arange(N) % 3, torch.randn(D, D)
    found = example_statistics(model, PER_EXAMPLE, [(inputs, targets)], along={"v": {"w": along}})
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, targets)["w"]
    assert found.dot["v"] == pytest.approx((rows * along).sum(dim=(1, 2)).numpy(), rel=1e-4, abs=1e-6)


class Interrupted(nn.LSTM):
    def forward(self, x):
        raise KeyboardInterrupt


def test_an_lstm_and_one_dnn_are_left_as_found_by_who_interrupts():
    before, model = torch._C._get_mkldnn_enabled(), recurrent(Interrupted)()
    with pytest.raises(KeyboardInterrupt):
        gradient_statistics(model, PER_EXAMPLE, [(torch.randn(N, T, D), torch.arange(N) % 3)])
    assert torch._C._get_mkldnn_enabled() == before
    assert not any("forward" in vars(module) for module in model.modules())
