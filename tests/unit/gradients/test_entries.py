"""Parameters of which something is computed that all examples share: norms, sums and products equal the loop."""

import math
import warnings
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils import parametrizations, prune

from mcoherence import example_statistics, gradient_statistics
from mcoherence.gradients.batch import by_entries, capture
from mcoherence.gradients.given.refusal import UnsupportedModelError
from mcoherence.gradients.graph import entries, operations, uses
from mcoherence.gradients.reference import per_example_gradients
from tests.unit.gradients.model_of_function import Cut, Model, bare

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
N, T, D = 5, 4, 6  # examples, positions, features


def maps(x):
    """[n, T, D] as maps [n, 2, T, 3]."""
    return x.reshape(-1, T, 2, 3).transpose(1, 2)


def pooled(x):
    return x.flatten(2).mean(2)


def frames(m, x):
    """Positions are frames, each a map of its own, so that each example has T rows."""
    each = m.norm(m.conv(x.reshape(-1, 2, 3).unsqueeze(-1))).relu()
    return each.flatten(1).reshape(len(x), T, -1).mean(1)


def pairs(m, x):
    """Both halves of a pair through the same layers, in one call of twice as many rows."""
    both = m.norm(m.conv(torch.cat([maps(x), maps(x.flip(1))]))).tanh()
    one, other = pooled(both).chunk(2)
    return one * other + one


def called_twice(m, x):
    first = m.norm(m.conv(maps(x)))
    return pooled(first) + pooled(m.norm(m.conv(first.tanh())))


def steps(m, x):
    for _ in range(3):
        x = x + m.norm(m.a(x)).tanh()
    return x.mean(1)


def cross_attention(m, x):
    found = m.attention(x, m.context(x[:, :3]), m.context(x[:, :3]), need_weights=False)[0]
    return found.mean(1)


def memory_of_all(m, x):
    """Queries that all examples share look at each example."""
    found = m.attention(m.queries.repeat(len(x), 1, 1), x, x, need_weights=False)[0]
    return found.mean(1)


def experts(m, x):
    """Dense experts: one product of matrices for each, examples and positions among its rows."""
    rows = x.reshape(1, -1, D).expand(3, -1, -1)
    hidden = torch.baddbmm(m.b, rows, m.w1).tanh()
    mixed = torch.einsum("etd,edk->etk", hidden, m.w2).mean(0)
    return mixed.reshape(len(x), T, -1).mean(1)


def heads_apart(m, x):
    return torch.einsum("ntd,hdk->nthk", x, m.w).tanh().flatten(2).mean(1)


def left_of_a_product(m, x):
    """The examples are columns."""
    columns, several = x.mean(1).t(), x.permute(2, 1, 0)
    one = (m.w @ columns).tanh() + torch.addmm(m.b, m.w.tanh(), columns, alpha=0.5, beta=2.0)
    products = torch.bmm(m.several, several).tanh() + torch.baddbmm(m.b, m.several.tanh(), several, alpha=0.5)
    return one.t() + products.mean(1).sum(0)[:, None]


def computed_positions(m, x):
    """A network makes positions of a table that is no parameter."""
    table = torch.linspace(-1, 1, T * 2, dtype=x.dtype).view(T, 2)
    return m.a(x + m.second(m.first(table).tanh())).tanh().mean(1)


def bias_of_scores(m, x):
    distance = (torch.arange(T)[:, None] - torch.arange(T)[None]).to(x.dtype).unsqueeze(-1)
    scores = x @ x.transpose(1, 2) + m.second(m.first(distance).tanh()).squeeze(-1)
    return (scores.softmax(-1) @ m.a(x)).mean(1)


def merged(m, x):
    return F.linear(x, m.frozen + m.up @ m.down).tanh().mean(1)


def normalised_head(m, x):
    return F.normalize(x.mean(1), dim=1) @ F.normalize(m.w, dim=0) * m.scale.exp()


def made_by_a_network(m, x):
    """The kernel of a convolution is what a network makes of a parameter."""
    kernel = m.hyper(m.z).view(3, 2, 3, 3)
    return pooled(F.conv2d(maps(x), kernel, m.bias, padding=1).relu()) + pooled(F.conv2d(maps(x), kernel.tanh()))


def kernels_of_examples(m, x):
    """Each example has a kernel of its own: a mixture of the same, the examples being groups of channels."""
    kernel = torch.einsum("nk,kpcij->npcij", x[:, 0, :2].softmax(1), m.w).flatten(0, 1)
    found = F.conv2d(maps(x).reshape(1, -1, T, 3), kernel, padding=1, groups=len(x))
    return pooled(found.reshape(len(x), 3, T, 3).tanh())


def chosen_by_index(m, x):
    """A table looked up by w[index]: by each example, with negative numbers, and for all; and a function of it."""
    index = (x[..., 0] * 3).long().clamp(-3, 3)
    found = m.table[index] + m.table[torch.tensor([0, 1, -1, 3])] * x
    return (found + F.embedding(index.abs(), m.table.tanh(), padding_idx=1)).tanh().mean(1)


def no_tokens(m, x):
    """Tables that are looked up nowhere."""
    none = torch.zeros(len(x), 0, dtype=torch.int64)
    return m.a(x).mean(1) + F.embedding(none, m.table.tanh()).sum(1) + m.table[none].sum(1)


def repeated(m, x):
    """Keys that all examples share, repeated for the heads of each example one after the other."""
    rows = x.reshape(len(x), T, 2, 3).transpose(1, 2).flatten(0, 1)
    keys = m.keys.repeat(len(x), 1, 1)
    return (torch.bmm(rows, keys.transpose(1, 2)).softmax(-1) @ keys).reshape(len(x), 2, T, 3).mean((1, 2))


def divided(m, x):
    """By a parameter and of one: numerators that are truth values and bytes, divisors that are whole numbers."""
    byte, count = (x * 3).abs().to(torch.uint8), torch.arange(1, T + 1)[:, None]
    return ((x > 0) / (1 + m.gain.square()) + byte / (2 + m.gain.cos()) + m.gain / count).tanh().mean(1)


def lengths_of_spans(m, x):
    """Tables of other sizes, cut out of one parameter, and rows joined of blocks and cut again."""
    both = torch.cat([x, x.sin(), x.cos()])
    mapped = m.norm(both @ m.w[1 : D + 1])
    first, second = mapped[: len(x)], mapped[len(x) :].split([len(x), len(x)])
    return (first * second[0] + second[1]).mean(1) + m.w[0]


def spread_every_way(m, x):
    p, eye, above = m.p, torch.eye(D, dtype=x.dtype), x > 0
    y = (p - ((p + x) + p)) - p
    y = torch.where(above, p, (p * y) * p) + torch.where(above, y, p)
    y = p / (2 + y.square()) + y / (2 + p.square()) + y / m.q + p.expand(len(x), T, D)
    y = torch.baddbmm(p[None, None], y.tanh(), eye.expand(len(x), D, D), beta=0.5, alpha=2.0)
    return torch.addmm(p, y.flatten(0, 1), eye, beta=2.0, alpha=0.5).view(-1, T, D).mean(1)


def mask_token(m, x):
    return m.a(torch.where(x[..., :1] > 0, x, m.token) / (1 + m.gain.square())).tanh().mean(1)


def standardised_kernel(m, x):
    """A kernel whose channels are normalised by their own mean and variance, with torch's function for batches."""
    w = F.batch_norm(m.w.reshape(1, 3, -1), None, None, weight=m.gain.exp(), training=True, momentum=0.0)
    return pooled(F.conv2d(maps(x), w.reshape_as(m.w), padding=1).tanh())


def functions_that_could_write(m, x):
    """Arguments that say that nothing is written to, and dropout that drops nothing."""
    w = F.dropout(F.normalize(m.w, dim=0, out=None), 0.3, training=False, inplace=False)
    return (x @ F.relu(w.sin() + m.b, inplace=False)).mean(1)


class LoudNorm(nn.BatchNorm2d):
    """A norm with a forward pass of its own, as libraries of networks write them."""

    def forward(self, x):
        return super().forward(x).tanh()


def cut_off(m, x):
    """Of two entries one gets no gradient."""
    w = m.w.tanh()
    return m.a(Cut.apply(x @ w).mean(1) + (x.sin() @ w).tanh().mean(1))


class Stretched(torch.autograd.Function):
    """A function of several weights without a rule for many gradients at once."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = (saved.detach().numpy() for saved in ctx.saved_tensors)
        return torch.from_numpy(grad.numpy() * b), torch.from_numpy(grad.numpy() * a)


def with_hooks(kind, layer, name):
    """A layer whose weight a hook computes before every call, as older torch does."""
    kind(layer, name)
    return layer


def conv(**options):
    return nn.Conv2d(2, 3, 3, padding=1, **options)


def as_model(layer):
    return Model(lambda m, x: pooled(m.layer(maps(x)).tanh()), layer=layer)


ENTRIES = {
    "frames": lambda: Model(frames, conv=nn.Conv2d(2, 4, (2, 1)), norm=nn.GroupNorm(2, 4)),
    "pairs": lambda: Model(pairs, conv=conv(bias=True), norm=nn.BatchNorm2d(3)),
    "called twice": lambda: Model(called_twice, conv=nn.Conv2d(2, 2, 3, padding=1, bias=True), norm=nn.GroupNorm(1, 2)),
    "steps": lambda: Model(steps, a=nn.Linear(D, D), norm=nn.LayerNorm(D)),
    "layer norm of two axes, twice": lambda: Model(lambda m, x: m.n(m.n(x).tanh()).mean(1), n=nn.LayerNorm((T, D))),
    "cross attention": lambda: Model(
        cross_attention, attention=nn.MultiheadAttention(D, 2, batch_first=True), context=nn.Linear(D, D)
    ),
    "queries of all": lambda: Model(
        memory_of_all, attention=nn.MultiheadAttention(D, 2, batch_first=True), queries=bare(1, 3, D)
    ),
    "decoder layer": lambda: Model(
        lambda m, x: m.layer(x, x[:, :2]).mean(1), layer=nn.TransformerDecoderLayer(D, 2, 8, batch_first=True)
    ),
    "experts": lambda: Model(experts, w1=bare(3, D, 4), b=bare(3, 1, 4), w2=bare(3, 4, 3)),
    "heads apart": lambda: Model(heads_apart, w=bare(2, D, 3)),
    "left of a product": lambda: Model(left_of_a_product, w=bare(3, D), several=bare(D, 3, T), b=bare(3, 1)),
    "bilinear": lambda: Model(lambda m, x: m.b(x[:, 0], m.b(x[:, 1], x[:, 2]).tanh()), b=nn.Bilinear(D, D, D)),
    "product with a vector": lambda: Model(lambda m, x: (x.flatten(0, 1) @ m.v.tanh()).view(-1, T).sin(), v=bare(D)),
    "positions that a network makes": lambda: Model(
        computed_positions, first=nn.Linear(2, 3), second=nn.Linear(3, D), a=nn.Linear(D, D)
    ),
    "a bias of scores that a network makes": lambda: Model(
        bias_of_scores, first=nn.Linear(1, 3), second=nn.Linear(3, 1), a=nn.Linear(D, D)
    ),
    "low rank, merged": lambda: Model(merged, frozen=bare(3, D).requires_grad_(False), up=bare(3, 2), down=bare(2, D)),
    "head of unit length": lambda: Model(normalised_head, w=bare(D, 3), scale=bare()),
    "softmax of a weight": lambda: Model(lambda m, x: (x @ m.w.softmax(0)).mean(1), w=bare(D, 3)),
    "kernel that a network makes": lambda: Model(made_by_a_network, hyper=nn.Linear(4, 54), z=bare(4), bias=bare(3)),
    "kernels of examples": lambda: Model(kernels_of_examples, w=bare(2, 3, 2, 3, 3)),
    "chosen by index": lambda: Model(chosen_by_index, table=bare(7, D)),
    "positions of a sparse table": lambda: Model(
        lambda m, x: (x + m.a(m.table(torch.arange(T))).tanh()).mean(1),
        table=nn.Embedding(T, D, sparse=True),
        a=nn.Linear(D, D),
    ),
    "no tokens": lambda: Model(no_tokens, table=bare(7, D), a=nn.Linear(D, D)),
    "a layer of one vector, as long as the examples of a batch": lambda: Model(
        lambda m, x: m.b(x.mean(1)) + m.a(m.z.sin()), a=nn.Linear(4, 3), b=nn.Linear(D, 3), z=bare(4)
    ),
    "a layer of one vector": lambda: Model(lambda m, x: (x * m.a(m.z.sin())).mean(1), a=nn.Linear(3, D), z=bare(3)),
    "repeated for heads": lambda: Model(repeated, keys=bare(2, 5, 3)),
    "spread every way": lambda: Model(spread_every_way, p=bare(D), q=bare(D)),
    "divided": lambda: Model(divided, gain=bare(D)),
    "spans": lambda: Model(lengths_of_spans, w=bare(D + 2, 3), norm=nn.LayerNorm(3)),
    "a use without a gradient": lambda: Model(cut_off, w=bare(D, 3), a=nn.Linear(3, 3)),
    "standardised kernel": lambda: Model(standardised_kernel, w=bare(3, 2, 3, 3), gain=bare(3)),
    "functions that could write": lambda: Model(functions_that_could_write, w=bare(D, 3), b=bare(3)),
    "a norm of one's own": lambda: Model(lambda m, x: pooled(m.n(m.c(maps(x)))), c=conv(), n=LoudNorm(3)),
    "a norm of one's own, of many positions": lambda: Model(
        lambda m, x: pooled(m.n(m.c(maps(x).repeat(1, 1, 2, 2)))), c=conv(), n=LoudNorm(3)
    ),
    "slopes": lambda: Model(
        lambda m, x: m.each(m.one(x)).mean(1) + F.prelu(F.prelu(maps(x), m.slopes), m.slopes).mean((1, 2, 3))[:, None],
        one=nn.PReLU(),
        each=nn.PReLU(T),
        slopes=bare(2),
    ),
    "mask token": lambda: Model(mask_token, a=nn.Linear(D, D), token=bare(D), gain=bare(D)),
    "somebody's function of two weights": lambda: Model(
        lambda m, x: (x @ Stretched.apply(m.a, m.b)).tanh().mean(1), a=bare(D, 3), b=bare(D, 3)
    ),
    "weight norm": lambda: as_model(parametrizations.weight_norm(conv())),
    "weight norm by hooks": lambda: as_model(with_hooks(nn.utils.weight_norm, conv(), "weight")),
    "spectral norm": lambda: as_model(parametrizations.spectral_norm(conv())),
    "orthogonal": lambda: Model(
        lambda m, x: m.a(x).tanh().mean(1), a=parametrizations.orthogonal(nn.Linear(D, D), orthogonal_map="cayley")
    ),
    "pruned": lambda: as_model(prune.random_unstructured(conv(groups=1), "weight", 0.3)),
    "transposed convolution": lambda: as_model(nn.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1, groups=2)),
    "tied transposed convolution": lambda: Model(
        lambda m, x: pooled(F.conv_transpose2d(m.c(maps(x)).tanh(), m.c.weight, stride=2)), c=nn.Conv2d(2, 3, 2)
    ),
    "convolution along one axis": lambda: Model(
        lambda m, x: F.conv1d(F.conv1d(x, m.w, dilation=2).tanh(), m.w[:, :2], m.b).mean(2), w=bare(2, T, 2), b=bare(2)
    ),
}


def problem(name):
    torch.manual_seed(0)
    model = ENTRIES[name]().double()
    inputs = torch.randn(N, T, D, dtype=torch.float64)
    model.train()
    with torch.no_grad():
        classes = model(inputs).shape[1]  # statistics of batch norm, and vectors of spectral norm
    return model.eval(), inputs, torch.arange(N) % min(classes, 3)


@pytest.mark.parametrize("name", ENTRIES)
def test_norms_sums_and_products_equal_the_loop_without_the_whole_model(name, monkeypatch):
    monkeypatch.setattr(capture, "layer_rows", None)  # nor by running a layer again
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
    flat = torch.cat([g.flatten(1) if g.dim() > 1 else g[:, None] for g in rows.values()], dim=1)
    torch.manual_seed(1)
    along = {key: torch.randn_like(g[0]) for key, g in rows.items()}
    wanted = flat @ torch.cat([value.flatten() for value in along.values()])
    products = example_statistics(model, PER_EXAMPLE, batches, along={"sum": "sum", "given": along})
    assert products.dot["sum"] == pytest.approx((flat @ flat.sum(0)).numpy(), rel=1e-9, abs=1e-12 * whole)
    assert products.dot["given"] == pytest.approx(wanted.numpy(), rel=1e-9, abs=1e-12 * whole)


@pytest.mark.parametrize("name", ["weight norm", "kernel that a network makes", "chosen by index"])
def test_rows_are_formed_for_a_few_examples_at_a_time(name, monkeypatch):
    model, inputs, targets = problem(name)
    expected = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    monkeypatch.setattr(by_entries, "AT_A_TIME", 2 * sum(p.numel() for p in model.parameters()))
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert found.sum_sq_norms == pytest.approx(expected.sum_sq_norms, rel=1e-12)


def test_a_parameter_with_several_functions_whose_rows_would_be_too_large_goes_through_the_whole_model(monkeypatch):
    monkeypatch.setattr(by_entries, "ROWS_BUDGET", 10)
    model, inputs, targets = problem("kernel that a network makes")
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert set(found.evidence.by_whole_model) == {"z", "hyper.weight", "hyper.bias"}
    for key, g in per_example_gradients(model, PER_EXAMPLE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter")[key] == pytest.approx(float(g.square().sum()), rel=1e-10), key


@pytest.mark.parametrize("name", ["called twice", "weight norm", "kernel that a network makes"])
def test_in_half_precision_rows_are_taken_in_float32(name, monkeypatch):
    dtypes = set()
    plain = by_entries._Gathered.take
    monkeypatch.setattr(
        by_entries._Gathered, "take", lambda self, part, rows: dtypes.add(rows.dtype) or plain(self, part, rows)
    )
    model, inputs, targets = problem(name)
    model = model.to(torch.bfloat16)
    gradient_statistics(model, PER_EXAMPLE, [(inputs.to(torch.bfloat16), targets)], spot_check=0)
    assert dtypes == {torch.float32}


def test_sums_of_rows_of_several_functions_are_as_wide_as_the_widest():
    torch.manual_seed(0)
    model = Model(lambda m, x: (x @ m.w.double()).float().tanh().mean(1) + (x.float() @ (m.w * m.v)).mean(1))
    model.w, model.v = bare(D, 3), bare(D, 3)
    inputs, targets = torch.randn(N, T, D, dtype=torch.float64), torch.arange(N) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    for key, g in per_example_gradients(model, PER_EXAMPLE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter")[key] == pytest.approx(float(g.double().square().sum()), rel=1e-5), key


@pytest.mark.parametrize("size", [1e-20, 1e20])
def test_a_divisor_near_the_ends_of_the_range_is_not_squared(size):
    torch.manual_seed(0)
    model = Model(lambda m, x: m.a(x).mean(1) + (x.mean(1) * size) / m.w, a=nn.Linear(D, D), w=bare(D))
    model.w.data = size * (1 + torch.rand(D))
    inputs, targets = torch.randn(N, T, D), torch.arange(N) % 3
    found = gradient_statistics(model, lambda out, t: PER_EXAMPLE(out, t) * 1e-9, [(inputs, targets)])
    assert found.evidence.by_whole_model == ()


def test_examples_are_told_from_positions_where_there_are_as_many_of_both():
    for name in ENTRIES:
        model, inputs, targets = problem(name)
        inputs, targets = inputs[:T], targets[:T]
        found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)]).sum_sq_norm(by="parameter")
        for key, g in per_example_gradients(model, PER_EXAMPLE, inputs, targets).items():
            assert found[key] == pytest.approx(float(g.square().sum()), rel=1e-9, abs=1e-25), (name, key)


def content_decides(m, x):
    """Rows sorted by content go through the layer, and nobody sees back whose they are."""
    order = x[:, 0, 0].argsort()
    return m.norm(m.norm(x[order]).tanh())[order.argsort()].mean(1)


def unknown_operation(m, x):
    return torch.cdist(m.a(x).mean(1), m.w.softmax(0))


def unknown_above_a_norm(m, x):
    """Where the examples are is not told above the norm of a vector, as long as twice their number."""
    return torch.cdist(m.a(x).mean(1), F.layer_norm(m.v, (10,), m.w)[:6][None] * m.gain)


def unknown_above_what_is_repeated(m, x):
    return torch.cdist(m.a(x).mean(1), m.w.repeat(1, 6))


def mixed_batch(m, x):
    """A shared tensor that is computed of all examples."""
    return (x @ (m.w * x.detach().mean((0, 1))[:, None]).softmax(0)).mean(1)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Model(content_decides, norm=nn.LayerNorm(D)),
        lambda: Model(unknown_operation, a=nn.Linear(D, D), w=bare(3, D)),
        lambda: Model(unknown_above_a_norm, a=nn.Linear(D, D), v=bare(10), w=bare(10), gain=bare(3, D)),
        lambda: Model(unknown_above_what_is_repeated, a=nn.Linear(D, D), w=bare(N, 1)),
    ],
    ids=["content decides", "unknown operation", "unknown above a norm", "unknown above what is repeated"],
)
def test_what_is_not_understood_is_left_to_the_whole_model(build):
    torch.manual_seed(0)
    model, inputs, targets = build().double(), torch.randn(N, T, D, dtype=torch.float64), torch.arange(N) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert found.evidence.by_whole_model
    for key, g in per_example_gradients(model, PER_EXAMPLE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter")[key] == pytest.approx(float(g.square().sum()), rel=1e-10), key


def mixed_where_large(m, x):
    return (x @ (m.w / x.detach().abs().max().clamp_min(6.0)).tanh()).mean(1)


def mixed_activations(m, x):
    return (x @ ((m.up @ m.down) / m.a(x).square().amax().clamp_min(9.0)).tanh()).mean(1)


def of_the_first(m, x):
    return (x @ m.a(x[:1].mean(1)).view(-1, 3)).mean(1)


def neighbour(m, x):
    """Rows of a table that is made of the examples, and of one more, so that it has no row for each."""
    table = torch.cat([m.a(x.mean(1)), m.row[None]]).tanh()
    return table[torch.arange(len(x)) + 1]


def largest(x):
    return x.detach().abs().max().clamp_min(6.0) / 6


def chosen_weight(m, x):
    return (x @ m.both[(x.sum() > 0).long()]).mean(1)


class Divided(torch.autograd.Function):
    """By what it is told otherwise than by an argument that is a tensor."""

    @staticmethod
    def forward(ctx, w, told):
        ctx.by = told[0]
        return w / ctx.by

    @staticmethod
    def backward(ctx, grad):
        return grad / ctx.by, None


def told_otherwise(m, x):
    return (x @ Divided.apply(m.up @ m.down, [largest(x)])).mean(1)


def a_leaf_that_is_no_weight(m, x):
    return (x @ Stretched.apply(m.w, (torch.ones_like(m.w) / largest(x)).requires_grad_())).mean(1)


def added_unseen(m, x):
    """A script writes, and what is written to is added to something fixed."""
    held, other = torch.ones((), dtype=x.dtype), torch.ones((), dtype=x.dtype)
    WRITING.f(held, largest(x))
    return (x @ (m.w / other.add_(held)).tanh()).mean(1)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scripts are deprecated, and are still met
    WRITING = torch.jit.CompilationUnit("def f(a, x):\n    a.copy_(x)\n")


def running_statistics(m, x):
    """Kept of the batch in tensors of the moment, whose versions do not count it."""
    mean, variance = torch.zeros(D, dtype=x.dtype), torch.ones(D, dtype=x.dtype)
    F.batch_norm(x.flatten(0, 1), mean, variance, training=True, momentum=1.0)
    return (x @ (m.w / variance.mean()).tanh()).mean(1)


def by_what_is_held(write):
    """A network that divides by a tensor of the moment, after `write(held, x)` of the batch; in the first it is 1."""

    def forward(m, x):
        held = torch.ones(1, dtype=x.dtype)
        return (x @ (m.w / write(held, x)).tanh()).mean(1)

    return lambda: Model(forward, w=bare(D, 3))


def by_another_name(held, x):
    """A name that has an example among its arguments, of which it is therefore not known that it is another name."""
    held.view_as(x[0, 0, :1]).copy_(largest(x))
    return held


def of_normalisation(held, x):
    """Statistics under another name; these are larger than 1 in both batches."""
    mean, variance = (one.expand_as(x[0, 0, :1]) for one in (0 * held, held))
    F.batch_norm(x.flatten()[:, None], mean, variance, training=True, momentum=1.0)
    return held


def updated(held, x):
    torch.batch_norm_update_stats(x.flatten()[:, None], 0 * held, held, 1.0)
    return held


def observed(held, x):
    on, scale, zero = torch.ones(1, dtype=torch.long), torch.ones(1), torch.zeros(1, dtype=torch.int32)
    low, high = torch.zeros(1), torch.zeros(1)
    torch.fused_moving_avg_obs_fake_quant(x.float(), on, on, low, high, scale, zero, 1.0, 0, 255, 0)
    return held + high


def in_inference_mode(held, x):
    with torch.inference_mode():
        held = held + 0
        held.view_as(x[0, 0, :1]).copy_(largest(x))
    return held.clone()


HELD = {
    "that drops nothing": lambda held, x: F.dropout(by_another_name(held, x), 0.3, False, inplace=True),
    "that asks for no gradient": lambda held, x: by_another_name(held, x).requires_grad_(False),
    "that changes no size": lambda held, x: by_another_name(held, x).resize_(1),
    "update of statistics": updated,
    "statistics under another name": of_normalisation,
    "range that is observed": observed,
    "inference mode": in_inference_mode,
}


def gradient_of_the_batch(m, x):
    v = torch.ones((), dtype=x.dtype).requires_grad_()
    (v * largest(x)).backward()
    return (x @ (m.w / v.grad).tanh()).mean(1)


class Product(torch.autograd.Function):
    """Of matrices, by an operation of one's own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, w):
        return x @ w

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grads):
        x, w = ctx.saved_tensors
        return grads @ w.T, x.flatten(0, 1).T @ grads.flatten(0, 1)


class Shifted(nn.Module):
    """A layer without a rule, whose weights' gradients are the same with any weights.

    Its weights are shifted by what is the largest in the batch, or by what somebody has set for it.
    """

    def __init__(self, *products, by=largest):
        super().__init__()
        self.weight, self.products, self.by = bare(D, 3), products, by

    def forward(self, x):
        weight = self.weight + torch.arange(3) * (self.by(x) - 1)
        return sum(product(x, weight) for product in self.products)


def shifted(m, x):
    return m.layer(x).tanh().mean(1)


def shifted_by_what_was_left(m, x):
    by = largest(x)
    m.layer.by = lambda x: by
    return shifted(m, x)


def shifted_by_what_is_there_for_the_call(m, x):
    found = shifted_by_what_was_left(m, x)
    m.layer.by = lambda x: torch.ones((), dtype=x.dtype)
    return found


def beside_a_filling(value):
    """Of the outputs of the layer one is what a mask is filled with, and is dropped."""
    layer = Shifted(lambda x, weight: F.pad(Product.apply(x, weight), (0, 1), value=value))
    return lambda: Model(lambda m, x: m.layer(x)[..., :3].tanh().mean(1), layer=layer)


MIXED = {
    "layer without a rule": lambda: Model(shifted, layer=Shifted(torch.matmul)),
    "layer with an operation of one's own": lambda: Model(shifted, layer=Shifted(Product.apply)),
    "layer with an operation of one's own after another": lambda: Model(
        shifted, layer=Shifted(torch.matmul, Product.apply)
    ),
    "layer with an operation of one's own before another": lambda: Model(
        shifted, layer=Shifted(Product.apply, torch.matmul)
    ),
    **{
        f"layer that finds something, {name}, {of}": lambda forward=forward, product=product: Model(
            forward, layer=Shifted(product)
        )
        for name, forward in (
            ("left for good", shifted_by_what_was_left),
            ("for its call", shifted_by_what_is_there_for_the_call),
        )
        for of, product in (("understood", torch.matmul), ("not understood", Product.apply))
    },
    **{f"layer beside a filling of {value}": beside_a_filling(value) for value in (-1e9, -1.7e308, -math.inf)},
    **{f"held, {name}": by_what_is_held(write) for name, write in HELD.items()},
    "running statistics": lambda: Model(running_statistics, w=bare(D, 3)),
    "gradient of the batch": lambda: Model(gradient_of_the_batch, w=bare(D, 3)),
    "chosen weight": lambda: Model(chosen_weight, both=bare(2, D, 3)),
    "told otherwise": lambda: Model(told_otherwise, up=bare(D, 2), down=bare(2, 3)),
    "a leaf that is no weight": lambda: Model(a_leaf_that_is_no_weight, w=bare(D, 3)),
    "added unseen": lambda: Model(added_unseen, w=bare(D, 3)),
    "batch": lambda: Model(mixed_batch, w=bare(D, 3)),
    "where large": lambda: Model(mixed_where_large, w=bare(D, 3)),
    "activations": lambda: Model(mixed_activations, up=bare(D, 2), down=bare(2, 3), a=nn.Linear(D, D)),
    "of the first": lambda: Model(of_the_first, a=nn.Linear(D, 3 * D)),
    "neighbour": lambda: Model(neighbour, a=nn.Linear(D, 3), row=bare(3)),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("spot_check", [0, 1])
def test_a_shared_tensor_that_is_computed_of_the_examples_is_refused(name, spot_check):
    """Even in a second batch, where nothing of it is compared with the examples alone."""
    torch.manual_seed(0)
    model, inputs = MIXED[name]().double(), torch.randn(2 * N, T, D, dtype=torch.float64)
    inputs[N:] *= 9
    targets = torch.arange(2 * N) % 3
    with pytest.raises(UnsupportedModelError, match="mixes the examples of a batch"):
        gradient_statistics(
            model, PER_EXAMPLE, [(inputs[:N], targets[:N]), (inputs[N:], targets[N:])], spot_check=spot_check
        )


def one_generator(m, x):
    """A network makes many weights, each by a function of its own."""
    made = m.second(m.first(m.z).tanh()).tanh()
    for index in range(len(m.z)):
        x = (x @ made[index].view(D, D).sin()).tanh()
    return x.mean(1)


def parts_of_one_function(m, x):
    for one in m.w.tanh().unbind(0):
        x = (x @ one).sin()
    return x.mean(1)


def test_parts_of_one_function_are_not_differentiated_whole_for_each():
    torch.manual_seed(0)
    model = Model(parts_of_one_function, w=bare(8, D, D)).double()
    inputs, targets = torch.randn(N, T, D, dtype=torch.float64), torch.arange(N) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    for key, g in per_example_gradients(model, PER_EXAMPLE, inputs, targets).items():
        assert found.sum_sq_norm(by="parameter")[key] == pytest.approx(float(g.square().sum()), rel=1e-10), key


def test_much_that_several_functions_have_in_common_is_not_differentiated_for_each():
    torch.manual_seed(0)
    model = Model(one_generator, z=bare(8, 4), first=nn.Linear(4, 64), second=nn.Linear(64, D * D)).double()
    inputs, targets = torch.randn(N, T, D, dtype=torch.float64), torch.arange(N) % 3
    found = gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)])
    assert set(found.evidence.by_whole_model) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("training", [True, False])
def test_statistics_of_the_batch_are_refused_where_the_weight_of_their_norm_is_a_function(training):
    def normalised(m, x):
        mean, variance = (None, None) if training else (torch.zeros(D).double(), torch.ones(D).double())
        return F.batch_norm(x.mean(1), mean, variance, 1 + m.w, m.b.exp(), training=training)

    torch.manual_seed(0)
    model, inputs = Model(normalised, w=bare(D), b=bare(D)).double(), torch.randn(N, T, D, dtype=torch.float64)
    with pytest.raises(UnsupportedModelError, match="mixes the examples") if training else nullcontext():
        found = gradient_statistics(model, PER_EXAMPLE, [(inputs, torch.arange(N) % 3)])
        assert found.evidence.by_whole_model == ()


def test_what_fails_in_a_hook_is_left_to_the_whole_model(monkeypatch):
    monkeypatch.setattr(by_entries, "pulled_back", lambda *given: 1 / 0)
    model, inputs, targets = problem("kernel that a network makes")
    batches = [(inputs[:3], targets[:3]), (inputs[3:], targets[3:])]
    found = gradient_statistics(model, PER_EXAMPLE, batches)
    assert set(found.evidence.by_whole_model) == {"z", "hyper.weight", "hyper.bias"}
    rows = per_example_gradients(model, PER_EXAMPLE, inputs, targets)
    for key, g in rows.items():
        assert found.sum_sq_norm(by="parameter")[key] == pytest.approx(float(g.square().sum()), rel=1e-10), key
    flat = torch.cat([g.flatten(1) for g in rows.values()], dim=1)
    products = example_statistics(model, PER_EXAMPLE, batches, along="sum").dot["sum"]
    assert products == pytest.approx((flat @ flat.sum(0)).numpy(), rel=1e-9)


def test_every_operation_that_is_known_is_used_by_a_network_here(monkeypatch):
    met = set()
    plain = entries.Entry.arrived
    monkeypatch.setattr(
        entries.Entry, "arrived", lambda self, *given: met.add((self.node.name(), self.argument)) or plain(self, *given)
    )
    of_uses = uses.Spread.rows
    monkeypatch.setattr(
        uses.Spread, "rows", lambda self, *given: met.add((self.node.name(), self.argument)) or of_uses(self, *given)
    )
    for name in ENTRIES:
        model, inputs, targets = problem(name)
        gradient_statistics(model, PER_EXAMPLE, [(inputs, targets)], spot_check=0)
    assert (set(operations.OPERATIONS) | set(uses.SPREADING)) - met == set()
