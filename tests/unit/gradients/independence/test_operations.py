"""What a pass calls is known to keep its examples apart only where it does; other examples are changed to see that."""

import random

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mcoherence.gradients.independence.trace import Trace

T, D = 5, 6  # positions, features
MOST = 2**20
torch.manual_seed(0)
WEIGHT, SQUARE, TABLE = torch.randn(D, 4), torch.randn(D, D), torch.randn(T, D)
IMAGES, GROUPED = nn.Conv2d(1, 3, 3, padding=1).requires_grad_(False), nn.GroupNorm(3, 3)
NORM = nn.BatchNorm1d(D).eval()
OWN = nn.InstanceNorm1d(D, affine=True)
LSTM = nn.LSTM(D, 3, batch_first=True, bidirectional=True).requires_grad_(False)
RNN = nn.RNN(D, 3).requires_grad_(False)
ATTENTION = nn.MultiheadAttention(D, 2, batch_first=True).requires_grad_(False)
ENCODER = nn.TransformerEncoderLayer(D, 2, 8, batch_first=True).train(False)
EMBEDDING = nn.Embedding(9, D)
CAUSAL = torch.ones(T, T, dtype=torch.bool).tril()


def given(n):
    """x [n, T, D] and labels [n], of the same first examples whatever n is."""
    generator = torch.Generator().manual_seed(1)
    x = torch.stack([torch.randn(T, D, generator=generator) for _ in range(n)])
    return x, torch.arange(n) % 4


def looked_at(function, x, labels):
    """The losses [n] of a function, and what it calls."""
    trace = Trace([x, labels], len(x), MOST)
    with trace:
        losses = function(x, labels)
    return losses, trace.calls(losses)


def is_apart(function, n):
    """Whether the loss of every example stays the same when all others are changed."""
    x, labels = given(n)
    losses = function(x, labels)
    for i in range(n):
        others = torch.full_like(x, 3.0) + x.flip(0)
        others[i] = x[i]
        changed = (labels + 1) % 4
        changed[i] = labels[i]
        if not torch.allclose(function(others, changed)[i], losses[i], rtol=1e-4, atol=1e-5):
            return False
    return True


def summed(x):
    """One number of each example, its first axis the examples'."""
    return x.flatten(1).sin().sum(1)


def heads(x):
    """[n, 2, T, 3]."""
    return x.view(len(x), T, 2, 3).transpose(1, 2)


APART = {
    "linear": lambda x, y: F.cross_entropy(x.mean(1) @ WEIGHT, y, reduction="none"),
    "linear of positions": lambda x, y: summed(F.linear(x, WEIGHT.T, WEIGHT[0])),
    "rows of all examples": lambda x, y: summed((x.reshape(-1, D) @ WEIGHT).view(len(x), T, 4)),
    "positions first": lambda x, y: summed((x.transpose(0, 1).reshape(-1, D) @ WEIGHT).view(T, -1, 4).transpose(0, 1)),
    "weights first": lambda x, y: summed((WEIGHT.T @ x[:, 0].T).T),
    "batched product": lambda x, y: summed(x @ x.transpose(1, 2)),
    "einsum": lambda x, y: summed(torch.einsum("ntd,de,nse->nts", x, SQUARE, x)),
    "table of positions": lambda x, y: summed(x + TABLE),
    "expanded table": lambda x, y: summed(torch.cat([x, TABLE[:1].expand(len(x), 1, D)], 1)),
    "stacked": lambda x, y: summed(torch.stack([x, 2 * x], 1)),
    "split": lambda x, y: summed(torch.cat(x.chunk(3, -1)[::-1], -1)),
    "softmax": lambda x, y: summed(x.softmax(1) * x.log_softmax(-1)),
    "norm of features": lambda x, y: summed(F.layer_norm(x, (D,))),
    "norm of all": lambda x, y: summed(F.layer_norm(x, (T, D), TABLE)),
    "running statistics": lambda x, y: summed(NORM(x.flatten(0, 1)).view_as(x)),
    "statistics of an example's own": lambda x, y: summed(F.instance_norm(x)),
    "scaled statistics of an example's own": lambda x, y: summed(OWN(x.transpose(1, 2))),
    "a constant for each": lambda x, y: summed(torch.cat([TABLE[:1].repeat(len(x), 1, 1), x], 1)),
    "largest": lambda x, y: summed(x.max(1).values + x.amax((1,)) + x.std(1)),
    "sorted": lambda x, y: summed(x.sort(1).values.cumsum(-1) + x.flip(1)),
    "top": lambda x, y: summed(x.topk(2, -1).values),
    "gathered": lambda x, y: summed(x.gather(2, y[:, None, None].expand(-1, T, 1))),
    "of its label": lambda x, y: x[torch.arange(len(x)), 0, y],
    "masked": lambda x, y: summed(x.masked_fill(x > 0.5, 0.0).where(x < 0.3, -x).clamp(-1, 1)),
    "triangle": lambda x, y: summed((x @ x.transpose(1, 2)).tril().softmax(-1)),
    "convolved": lambda x, y: summed(F.max_pool2d(GROUPED(IMAGES(x[:, None])).relu(), 2)),
    "pooled": lambda x, y: summed(F.adaptive_avg_pool2d(F.pad(x[:, None], (1, 1)), 1)),
    "attention": lambda x, y: summed(F.scaled_dot_product_attention(heads(x), heads(x), heads(x), is_causal=True)),
    "masked attention": lambda x, y: summed(F.scaled_dot_product_attention(heads(x), heads(x), heads(x), CAUSAL)),
    "attention to what is given": lambda x, y: summed(
        F.scaled_dot_product_attention(heads(x), heads(x), heads(x), (x[:, None, None, :, 0] > -1))
    ),
    "module of attention": lambda x, y: summed(ATTENTION(x, x, x, need_weights=False)[0]),
    "encoder": lambda x, y: summed(ENCODER(x)),
    "recurrent": lambda x, y: summed(LSTM(x)[0]),
    "recurrent, positions first": lambda x, y: summed(RNN(x.transpose(0, 1))[0].transpose(0, 1)),
    "embedded": lambda x, y: summed(EMBEDDING(y)[:, None] * x),
    "started from zeros": lambda x, y: summed(torch.zeros(len(x), D).addmm(x[:, 0], SQUARE) + x.new_ones(len(x), D)),
    "written in place": lambda x, y: summed(x.clone().mul_(2.0).add_(TABLE).relu_()),
    "written into zeros": lambda x, y: summed(torch.zeros(len(x), T, D).add_(x)),
    "read where all agree": lambda x, y: summed(x if bool((x < 99).all()) else -x),
}

MIXING = {
    "mean of the batch": lambda x, y: summed(x - x.mean(0)),
    "norm of the batch": lambda x, y: summed(F.batch_norm(x.flatten(0, 1), None, None, training=True).view_as(x)),
    "softmax over examples": lambda x, y: summed(x.softmax(0)),
    "sum of everything": lambda x, y: summed(x) * x.sum(),
    "sorted examples": lambda x, y: summed(x.sort(0).values),
    "counted before": lambda x, y: summed(x.cumsum(0)),
    "turned over": lambda x, y: summed(x.flip(0)),
    "moved on": lambda x, y: summed(x.roll(1, 0)),
    "product of all pairs": lambda x, y: (x[:, 0] @ x[:, 0].T).sum(1),
    "as if positions came first": lambda x, y: summed(x.transpose(0, 1).reshape(x.shape)),
    "attention over examples": lambda x, y: summed(
        F.scaled_dot_product_attention(*[heads(x).transpose(0, 2)] * 3).transpose(0, 2)
    ),
    "attention without batch_first": lambda x, y: summed(ENCODER(x.transpose(0, 1)).transpose(0, 1)),
    "recurrent over examples": lambda x, y: summed(RNN(x)[0]),
    "the first example": lambda x, y: summed(x + x[:1]),
    "the label of the first": lambda x, y: summed(x) * (1 + y[0]),
    "chosen by labels": lambda x, y: summed(x[(y + 1) % len(x)]),
    "chosen by a mask": lambda x, y: summed(x) + x[x > 0].sum(),
    "read": lambda x, y: summed(x if float(x.mean()) > 0.5 else -x),
    "read where one disagrees": lambda x, y: summed(x) * (1.0 if bool((x[:, 0, 0] > 3).any()) else 2.0),
    "mean of losses": lambda x, y: F.cross_entropy(x.mean(1) @ WEIGHT, y).expand(len(x)),
    "an outer sum": lambda x, y: (summed(x)[:, None] + summed(x)).sum(1),
    "written over others": lambda x, y: summed(x.clone().index_copy_(0, torch.tensor([0]), x[1:2])),
    "written through a view": lambda x, y: _through_a_view(x),
}


def _through_a_view(x):
    made = torch.zeros(len(x), D)
    made[0] = x[1, 0]
    return made.sum(1)


@pytest.mark.parametrize("name", APART)
def test_operations_that_keep_examples_apart_are_known_to_whatever_their_number(name):
    assert is_apart(APART[name], T)
    (_, few), (_, as_positions), (_, more) = (looked_at(APART[name], *given(n)) for n in (4, T, 15))
    assert few is not None
    assert few == more
    assert few == as_positions  # nothing is taken for the examples that has as many


@pytest.mark.parametrize("n", [T, D, 4])
@pytest.mark.parametrize("name", MIXING)
def test_those_that_mix_them_are_not(name, n):
    assert not is_apart(MIXING[name], n)
    _, calls = looked_at(MIXING[name], *given(n))
    assert calls is None or calls.reads


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: summed(x) / len(x),
        lambda x, y: summed(x) * torch.arange(len(x)).sum(),
        lambda x, y: summed(x) * torch.ones(len(x)).sum(),
        lambda x, y: summed(x if len(x) < 8 else 2 * x),
        lambda x, y: summed(x + TABLE[:, :1] * torch.zeros(len(x)).numel()),
        lambda x, y: summed(x.detach() if len(x) < 8 else x),
        lambda x, y: summed(x) + summed(torch.no_grad()(torch.sin)(x) if len(x) < 8 else torch.sin(x)),
        lambda x, y: summed(x) * torch.tensor(float(len(x))),
        lambda x, y: summed(x) * torch.full((2,), float(len(x))).sum(),
        lambda x, y: summed(x[:, : min(len(x), T)]),
    ],
    ids=["division", "arange", "ones", "branch", "numel", "detached", "no grad", "tensor", "full", "slice"],
)
def test_what_depends_on_the_number_of_examples_is_called_otherwise_for_another(function):
    (x, few), (more, many) = given(4), given(15)
    x.requires_grad_(), more.requires_grad_()
    _, one = looked_at(function, x, few)
    _, other = looked_at(function, more, many)
    assert one is None or one != other


def test_what_depends_on_the_place_of_an_example_is_not_known():
    def scaled(x, y):
        return summed(x) * (1 + torch.arange(len(x)))

    assert looked_at(scaled, *given(6))[1] is None


def test_calls_of_other_constants_differ():
    def scaled(scale):
        return looked_at(lambda x, y: summed(x) * scale, *given(6))[1]

    assert scaled(torch.tensor(2.0)) == scaled(torch.tensor(2.0))
    assert scaled(torch.tensor(2.0)) != scaled(torch.tensor(3.0))
    large = torch.full((T * D, 1), 2.0)
    found = [looked_at(lambda x, y, c=c: (x.flatten(1) @ c)[:, 0], *given(6))[1] for c in (large, large, large.clone())]
    assert found[0] == found[1] != found[2]
    large[0] = 3.0
    assert looked_at(lambda x, y: (x.flatten(1) @ large)[:, 0], *given(6))[1] != found[0]


def test_embeddings_whose_gradients_count_the_rows_of_others_are_not_known():
    table = nn.Embedding(9, D, scale_grad_by_freq=True)
    assert looked_at(lambda x, y: table(y).sum(1), *given(6))[1] is None


def test_too_large_a_pass_is_not_known():
    x, y = given(6)
    for most, known in ((6 * T * D * 2 + 6, True), (6 * T * D * 2, False)):
        trace = Trace([x, y], 6, most)
        with trace:
            losses = x.sin().cos().flatten(1).sum(1)
        assert (trace.calls(losses) is not None) == known


# Pieces of drawn functions, x [n, a, b] -> [n, a, b]; many mix examples, some only where sizes are equal.
PIECES = {
    "sin": lambda x: x.sin(),
    "turned": lambda x: x.transpose(1, 2),
    "turned over": lambda x: x.transpose(0, 1),
    "folded": lambda x: x.reshape(-1, x.shape[-1]).softmax(-1).view(x.shape),
    "folded over": lambda x: x.transpose(0, 1).reshape(x.shape),
    "across": lambda x: x.reshape(x.shape[0], -1).softmax(-1).view(x.shape),
    "all along": lambda x: x.softmax(0),
    "along": lambda x: x.softmax(1) + x,
    "last": lambda x: x.cumsum(-1),
    "halves": lambda x: torch.cat(x.split([1, x.shape[1] - 1], 1)[::-1], 1),
    "halves over": lambda x: torch.cat(x.split([1, x.shape[0] - 1], 0)[::-1], 0),
    "pairs": lambda x: x @ x.transpose(1, 2) @ x,
    "pairs over": lambda x: (x.transpose(0, 1) @ x.transpose(0, 1).transpose(1, 2) @ x.transpose(0, 1)).transpose(0, 1),
    "first": lambda x: x + x[:, :1],
    "first over": lambda x: x + x[:1],
    "in place": lambda x: x.clone().mul_(0.5),
    "added": lambda x: x + torch.ones(x.shape[1], 1),
    "counted": lambda x: x + torch.arange(x.shape[1])[:, None],
    "repeated": lambda x: x + TABLE[:1, :T].repeat(len(x), 1)[:, None] * TABLE[:1, : x.shape[2]].repeat(x.shape[1], 1),
    "counted over": lambda x: x + torch.arange(x.shape[0])[:, None, None],
    "chosen": lambda x: x[torch.arange(len(x))[:, None], torch.arange(x.shape[1])],
    "chosen over": lambda x: x[torch.arange(len(x)).flip(0)],
    "written": lambda x: torch.zeros_like(x).add_(x).clamp_(-2, 2),
    "written over": lambda x: torch.zeros_like(x).index_add_(0, torch.zeros(len(x), dtype=torch.long), x) + x,
    "mean": lambda x: x - x.mean((1, 2), keepdim=True),
    "mean over": lambda x: x - x.mean(0, keepdim=True),
}


@pytest.mark.parametrize("seed", range(60))
def test_drawn_functions_are_known_only_if_they_keep_examples_apart(seed):
    draw = random.Random(seed)
    found = []
    while len(found) < 12:
        pieces = draw.choices(list(PIECES), k=draw.randint(1, 6))

        def function(x, y, pieces=tuple(pieces)):
            x = x[:, :, :T]  # [n, T, T]
            for piece in pieces:
                x = PIECES[piece](x)
            return summed(x)

        n = draw.choice((T, 4, 10))
        try:
            _, calls = looked_at(function, *given(n))
        except RuntimeError:  # shapes that do not fit
            continue
        found.append((pieces, n, calls is not None, is_apart(function, n)))
    assert [one for one in found if one[2] and not one[3]] == []
