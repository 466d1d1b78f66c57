"""Networks drawn at random out of the pieces and ways of use that have made per-example gradients go wrong.

Every network here is a function of each example alone, however oddly it moves its rows about, unless `mixing` is drawn.
A drawn problem prints as what it is made of, and `measure(problem)` repeats it.

Index letters: n examples of a batch, m examples or copies of them, t positions, 4 features, R rows.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

WIDTH = 4
TOKENS = 10


# --- what is drawn -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A module: what it is (LAYERS), what is done to it (ALTERATIONS), and whose weight it takes, if it fits."""

    kind: str
    altered: str = "not"
    tied_to: int | None = None


@dataclass(frozen=True)
class Use:
    """One use of a layer, and how (USES)."""

    layer: int
    how: str = "tanh"


@dataclass(frozen=True)
class Frame:
    """Steps on rows that are selected, moved, repeated or cut up before them and put back after them (FRAMES)."""

    kind: str
    steps: tuple["Use | Frame", ...]
    others: tuple["Use | Frame", ...] = ()  # for the rows that content sends elsewhere


@dataclass(frozen=True)
class Network:
    """All layers and what is done with them.

    tokens: whether inputs are token numbers, for an embedding that comes first.
    twice_named: a layer that is registered under a second name.
    global_hook: one of GLOBAL_HOOKS.
    output: "tensor", "tuple", "dict" or "with penalty": a term of the weights alone, which every example's loss has.
    loss: one of LOSSES.
    mixing: one of MIXING, or "none".
    """

    layers: tuple[Layer, ...]
    steps: tuple[Use | Frame, ...]
    tokens: bool = False
    twice_named: int | None = None
    global_hook: str = "none"
    output: str = "tensor"
    loss: str = "pooled"
    mixing: str = "none"


@dataclass(frozen=True)
class Sample:
    """Batches of examples of t positions.

    marked: for every batch, the number of marked positions of each of its examples; content by which networks select.
    keyed_by_mark: whether the keys are even where marked and odd elsewhere, and not as it happens.
    grouped: whether there are two groups, mixed in the batches.
    seed: of all values, the network's included.
    """

    positions: int
    marked: tuple[tuple[int, ...], ...]
    keyed_by_mark: bool = False
    grouped: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Problem:
    network: Network
    sample: Sample


# --- values in a network -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Values:
    """x [..., 4], and of the inputs that it came from: marks, bool [...], and keys, whole numbers [...] in [0, 5)."""

    x: Tensor
    marks: Tensor
    keys: Tensor

    def at(self, change: Callable[[Tensor], Tensor]) -> "Values":
        """All three, their rows moved alike."""
        return Values(change(self.x), change(self.marks), change(self.keys))

    def of_examples(self, values: Tensor) -> Tensor:
        """Marks or keys [m] along the first axis alone."""
        return values if values.dim() == 1 else values[:, 0]

    def flat(self) -> "Values":
        return Values(self.x.reshape(-1, WIDTH), self.marks.reshape(-1), self.keys.reshape(-1))


Inner = Callable[[Values], Tensor]


# --- layers --------------------------------------------------------------------------------------------------------


class Leaf(nn.Module):
    """A module with parameters of its own and no children: forward is a function of (weight, x)."""

    def __init__(self, function: Callable, *shape: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape) * 0.7)
        self.function = function
        self.kept = [self.weight]

    def forward(self, x):
        return self.function(self.weight, x)


class KeptInList(Leaf):
    def forward(self, x):
        return x @ self.kept[0] + x @ self.weight


class Holder(nn.Module):
    """A module with children and parameters: forward is a function of (self, *arguments)."""

    def __init__(self, function: Callable, **parts: nn.Module | nn.Parameter):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *arguments):
        return self.function(self, *arguments)


class OwnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight.T, x.flatten(0, -2).T @ grad.flatten(0, -2)


class OwnSelection(torch.autograd.Function):
    """Rows by number, in a node of the graph that nobody knows."""

    @staticmethod
    def forward(ctx, x, at):
        ctx.save_for_backward(at)
        ctx.rows = len(x)
        return x[at]

    @staticmethod
    def backward(ctx, grad):
        (at,) = ctx.saved_tensors
        return grad.new_zeros(ctx.rows, *grad.shape[1:]).index_add(0, at, grad), None


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -0.5 * grad


def bare(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * 0.7)


def linear(**options) -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH, **options)


def through_channels(module: nn.Module, x: Tensor) -> Tensor:
    return module(x.transpose(1, 2)).transpose(1, 2)


def through_image(module: nn.Module, x: Tensor) -> Tensor:
    """x [m, t, 4] as an image of one channel, and the channels that come out as positions."""
    out = module(x.unsqueeze(1))
    return out.flatten(2).transpose(1, 2).reshape(len(x), x.shape[1], WIDTH, -1).mean(-1)


def hidden(mask: Tensor) -> Tensor:
    """Positions to leave out, of marks [m, t]; never the first one."""
    return torch.cat([torch.zeros_like(mask[:, :1]), ~mask[:, 1:]], dim=1)


def causal(x: Tensor) -> Tensor:
    return torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)


def packed(module: nn.LSTM, v: Values) -> Tensor:
    lengths = v.marks.sum(1).clamp(min=1)
    sequence = pack_padded_sequence(v.x, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(module(sequence)[0], batch_first=True, total_length=v.x.shape[1])[0]


def by_cell(module: nn.GRUCell, v: Values) -> Tensor:
    """A step at every position, for the examples alone that are marked there."""
    state, out = v.x.new_zeros(len(v.x), WIDTH), []
    for t in range(v.x.shape[1]):
        at = v.marks[:, t]
        state = state.clone()
        state[at] = module(v.x[at, t], state[at])
        out.append(state)
    return torch.stack(out, dim=1)


def with_weights(module: nn.MultiheadAttention, v: Values) -> Tensor:
    out, weights = module(v.x, v.x, v.x)
    return out + weights.square().sum(-1, keepdim=True)


def by_hand(m: nn.Module, x: Tensor, marks: Tensor) -> Tensor:
    q, k, v = m.qkv(x).view(*x.shape[:2], 3, 2, 2).permute(2, 0, 3, 1, 4)
    seen = ~hidden(marks)[:, None, None, :]
    return m.out(F.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).flatten(2))


def with_class_token(m: nn.Module, x: Tensor) -> Tensor:
    tokens = torch.cat([m.token.expand(len(x), -1, -1), x], dim=1)
    mixed = m.inner(tokens).tanh()
    return mixed[:, 1:] * mixed[:, :1]


def adapted(m: nn.Module, x: Tensor) -> Tensor:
    return F.linear(x, m.base.weight + m.b @ m.a, m.base.bias)


def generated(m: nn.Module, x: Tensor) -> Tensor:
    weights = m.inner(x).unsqueeze(-1) * m.gain
    return (weights @ x.unsqueeze(-1)).squeeze(-1)


def mixture(m: nn.Module, x: Tensor, keys: Tensor) -> Tensor:
    """Every row to the expert that its key names, weighted by a gate."""
    rows, choice = x.reshape(-1, WIDTH), keys.reshape(-1) % len(m.experts)
    weights, out = m.gate(rows).softmax(-1), torch.zeros_like(rows)
    for number, expert in enumerate(m.experts):
        (where,) = (choice == number).nonzero(as_tuple=True)
        if len(where):
            out = out.index_add(0, where, expert(rows[where]) * weights[where, number, None])
    return out.view_as(x)


def bags(module: nn.EmbeddingBag, v: Values) -> Tensor:
    """Per example the bag of the keys of its marked positions."""
    counts = v.marks.sum(1)
    return v.x + module(v.keys[v.marks], counts.cumsum(0) - counts).unsqueeze(1)


def gradient_of_itself(m: nn.Module, x: Tensor) -> Tensor:
    """A layer whose output is a gradient by its input, as in energy models and gradient penalties."""
    at = x if x.requires_grad else x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(m.inner(at).tanh().square().sum(), at, create_graph=True)
    return gradient


def with_queries(m: nn.Module, x: Tensor) -> Tensor:
    """A layer on rows that no example has a part in."""
    queries = m.inner(m.queries).tanh()
    return x + (x @ queries.T).softmax(-1) @ queries


def with_put_token(m: nn.Module, x: Tensor, marks: Tensor) -> Tensor:
    """A learnt token in the place of marked rows."""
    out = m.inner(x).clone()
    out[marks] = m.token
    return out


def through_spectrum(w: Tensor, x: Tensor) -> Tensor:
    """A layer whose weight is complex."""
    return torch.fft.irfft(torch.fft.rfft(x) * torch.view_as_complex(w), n=WIDTH)


def with_complex_weight(m: nn.Module, x: Tensor) -> Tensor:
    return torch.fft.irfft(torch.fft.rfft(m.inner(x)) * m.weight, n=WIDTH)


def with_other_weights(m: nn.Module, x: Tensor) -> Tensor:
    halved = {name: 0.5 * p for name, p in m.inner.named_parameters()}
    return torch.func.functional_call(m.inner, halved, (x,))


def of_all_positions(module: nn.Module, x: Tensor) -> Tensor:
    return x + module(x.flatten(1)).unsqueeze(1)


def through_large_image(module: nn.Module, x: Tensor, **layout) -> Tensor:
    """Images so large that the convolution's gradients are summed where they are formed."""
    pattern = torch.linspace(-1, 1, 16 * 32 * 32, dtype=x.dtype).sin().view(16, 32, 32)
    images = (x.mean(1).repeat(1, 4)[:, :, None, None] + pattern).to(**layout)
    return x + module(images).tanh().mean((2, 3))[:, None, :WIDTH]


@dataclass(frozen=True)
class LayerKind:
    """build: a new module, given t; call: what is done with it; rows: whether it takes rows of any shape [..., 4]."""

    build: Callable[[int], nn.Module]
    call: Callable[[nn.Module, Values], Tensor] = lambda module, v: module(v.x)
    rows: bool = True


def of_rows(build: Callable[[], nn.Module], call: Callable[[nn.Module, Values], Tensor] | None = None) -> LayerKind:
    return LayerKind(lambda t: build(), *([call] if call else []))


def of_blocks(build: Callable[[], nn.Module], call: Callable[[nn.Module, Values], Tensor]) -> LayerKind:
    return LayerKind(lambda t: build(), call, rows=False)


def attention(**options) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(WIDTH, 2, **options)


LAYERS = {
    "linear": of_rows(linear),
    "linear without bias": of_rows(lambda: linear(bias=False)),
    "matrix": of_rows(lambda: Leaf(lambda w, x: x @ w, WIDTH, WIDTH)),
    "gain": of_rows(lambda: Leaf(lambda w, x: x * w, WIDTH)),
    "scalar": of_rows(lambda: Leaf(lambda w, x: x * w)),
    "scalar temperature": of_rows(lambda: Leaf(lambda w, x: x / w.exp())),
    "bare scalar": of_rows(
        lambda: Holder(lambda m, x: m.inner(x) * m.scale.exp() + m.shift, inner=linear(), scale=bare(), shift=bare())
    ),
    "bare gain": of_rows(
        lambda: Holder(lambda m, x: m.inner(x * m.gain) - m.shift, inner=linear(), gain=bare(WIDTH), shift=bare(1))
    ),
    "layer norm": of_rows(lambda: nn.LayerNorm(WIDTH)),
    "rms norm": of_rows(lambda: nn.RMSNorm(WIDTH)),
    "batch norm of rows": of_rows(
        lambda: nn.BatchNorm1d(WIDTH), lambda module, v: module(v.x.reshape(-1, WIDTH)).view_as(v.x)
    ),
    "conv of rows": of_rows(
        lambda: nn.Conv1d(WIDTH, WIDTH, 1), lambda module, v: module(v.x.reshape(-1, WIDTH, 1)).view_as(v.x)
    ),
    "prelu": of_rows(nn.PReLU),
    "mlp": of_rows(lambda: nn.Sequential(linear(), nn.Tanh(), linear())),
    "embedding": of_rows(lambda: nn.Embedding(5, WIDTH), lambda module, v: v.x * module(v.keys)),
    "sparse embedding": of_rows(
        lambda: nn.Embedding(5, WIDTH, sparse=True, padding_idx=1), lambda module, v: v.x + module(v.keys)
    ),
    "bilinear": of_rows(lambda: nn.Bilinear(WIDTH, WIDTH, WIDTH), lambda module, v: module(v.x, v.x.sin())),
    "own function": of_rows(lambda: Leaf(lambda w, x: OwnLinear.apply(x, w), WIDTH, WIDTH)),
    "weight used twice": of_rows(lambda: Leaf(lambda w, x: (x @ w).tanh() @ w, WIDTH, WIDTH)),
    "in place": of_rows(lambda: Leaf(lambda w, x: x.mul_(w), WIDTH), lambda module, v: module(v.x.clone())),
    "two outputs": of_rows(
        lambda: Leaf(lambda w, x: (x @ w, x @ w.T), WIDTH, WIDTH),
        lambda module, v: module(v.x)[0].sin() + module(v.x)[1],
    ),
    "kept in a list": of_rows(lambda: KeptInList(None, WIDTH, WIDTH)),
    "adapter": of_rows(lambda: Holder(adapted, base=linear(), a=bare(1, WIDTH), b=bare(WIDTH, 1))),
    "gradient of itself": of_rows(lambda: Holder(gradient_of_itself, inner=linear())),
    "generated weights": of_rows(lambda: Holder(generated, inner=linear(), gain=bare(1, WIDTH))),
    "linear by keyword": of_rows(linear, lambda module, v: module(input=v.x)),
    "matrix expanded over rows": of_rows(
        lambda: Holder(
            lambda m, x: (x.unsqueeze(-2) @ m.matrix.expand(*x.shape[:-1], -1, -1)).squeeze(-2),
            matrix=bare(WIDTH, WIDTH),
        )
    ),
    "gain repeated over rows": of_rows(
        lambda: Holder(
            lambda m, x: m.inner(x).tanh() * m.gain.repeat(*x.shape[:-1], 1), inner=linear(), gain=bare(WIDTH)
        )
    ),
    "rows of a table": of_rows(
        lambda: Holder(lambda m, x, keys: x + m.table[keys], table=bare(5, WIDTH)),
        lambda module, v: module(v.x, v.keys),
    ),
    "token where marked": of_rows(
        lambda: Holder(
            lambda m, x, marks: torch.where(marks.unsqueeze(-1), m.token, m.inner(x)),
            inner=linear(),
            token=bare(WIDTH),
        ),
        lambda module, v: module(v.x, v.marks),
    ),
    "token put where marked": of_rows(
        lambda: Holder(with_put_token, inner=linear(), token=bare(WIDTH)), lambda module, v: module(v.x, v.marks)
    ),
    "spectrum": of_rows(lambda: Leaf(through_spectrum, 3, 2)),
    "complex weight": of_rows(
        lambda: Holder(with_complex_weight, inner=linear(), weight=nn.Parameter(torch.randn(3, dtype=torch.complex64)))
    ),
    "queries": of_rows(lambda: Holder(with_queries, inner=linear(), queries=bare(3, WIDTH))),
    "functional call": of_rows(lambda: Holder(with_other_weights, inner=linear())),
    "mixture of experts": of_rows(
        lambda: Holder(mixture, gate=nn.Linear(WIDTH, 2), experts=nn.ModuleList([linear(), linear()])),
        lambda module, v: module(v.x, v.keys),
    ),
    "convolution": of_blocks(
        lambda: nn.Conv1d(WIDTH, WIDTH, 3, padding=1), lambda module, v: through_channels(module, v.x)
    ),
    "grouped convolution": of_blocks(
        lambda: nn.Conv1d(WIDTH, WIDTH, 3, padding=2, dilation=2, groups=2, padding_mode="circular"),
        lambda module, v: through_channels(module, torch.cat([v.x, v.x.sin()], 1))[:, : v.x.shape[1]],
    ),
    "large convolution": of_blocks(
        lambda: nn.Conv2d(16, 16, 3, padding=1), lambda module, v: through_large_image(module, v.x)
    ),
    "large convolution, channels last": of_blocks(
        lambda: nn.Conv2d(16, 16, 3, padding=1),
        lambda module, v: through_large_image(module, v.x, memory_format=torch.channels_last),
    ),
    "linear of all positions": LayerKind(
        lambda t: nn.Linear(WIDTH * t, WIDTH), lambda module, v: of_all_positions(module, v.x), rows=False
    ),
    "image convolution": of_blocks(
        lambda: nn.Conv2d(1, 2, 3, padding=1), lambda module, v: through_image(module, v.x)
    ),
    "convolution and norm": of_blocks(
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)),
        lambda module, v: through_image(module, v.x),
    ),
    "transposed convolution": of_blocks(
        lambda: nn.ConvTranspose1d(WIDTH, WIDTH, 3, padding=1), lambda module, v: through_channels(module, v.x)
    ),
    "batch norm": of_blocks(lambda: nn.BatchNorm1d(WIDTH), lambda module, v: through_channels(module, v.x)),
    "group norm": of_blocks(lambda: nn.GroupNorm(2, WIDTH), lambda module, v: through_channels(module, v.x)),
    "instance norm": of_blocks(
        lambda: nn.InstanceNorm1d(WIDTH, affine=True),
        lambda module, v: through_channels(module, torch.cat([v.x, v.x.sin()], 1))[:, : v.x.shape[1]],
    ),
    "positions": of_blocks(
        lambda: nn.Embedding(8, WIDTH), lambda module, v: v.x + module(torch.arange(v.x.shape[1]))
    ),
    "class token": of_blocks(
        lambda: Holder(with_class_token, inner=linear(), token=bare(1, 1, WIDTH)), lambda module, v: module(v.x)
    ),
    "linear over positions": LayerKind(
        lambda t: nn.Linear(t, t), lambda module, v: through_channels(module, v.x), rows=False
    ),
    "attention": of_blocks(
        lambda: attention(batch_first=True), lambda module, v: module(v.x, v.x, v.x, need_weights=False)[0]
    ),
    "attention and its weights": of_blocks(lambda: attention(batch_first=True), with_weights),
    "attention, positions first": of_blocks(
        attention, lambda module, v: module(*[v.x.transpose(0, 1)] * 3)[0].transpose(0, 1)
    ),
    "attention, padded": of_blocks(
        lambda: attention(batch_first=True),
        lambda module, v: module(v.x, v.x, v.x, key_padding_mask=hidden(v.marks))[0],
    ),
    "attention, causal": of_blocks(
        lambda: attention(batch_first=True), lambda module, v: module(v.x, v.x, v.x, attn_mask=causal(v.x))[0]
    ),
    "attention to others": of_blocks(
        lambda: attention(batch_first=True, add_bias_kv=True), lambda module, v: module(v.x, v.x.sin(), v.x.cos())[0]
    ),
    "attention by hand": of_blocks(
        lambda: Holder(by_hand, qkv=nn.Linear(WIDTH, 3 * WIDTH), out=linear()),
        lambda module, v: module(v.x, v.marks),
    ),
    "transformer": of_blocks(
        lambda: nn.TransformerEncoderLayer(WIDTH, 2, 6, batch_first=True), lambda module, v: module(v.x)
    ),
    "transformer, padded": of_blocks(
        lambda: nn.TransformerEncoderLayer(WIDTH, 2, 6, batch_first=True, norm_first=True),
        lambda module, v: module(v.x, src_key_padding_mask=hidden(v.marks)),
    ),
    "lstm": of_blocks(lambda: nn.LSTM(WIDTH, WIDTH, batch_first=True), lambda module, v: module(v.x)[0]),
    "gru, both ways": of_blocks(
        lambda: nn.GRU(WIDTH, 2, batch_first=True, bidirectional=True), lambda module, v: module(v.x)[0]
    ),
    "rnn, positions first": of_blocks(
        lambda: nn.RNN(WIDTH, WIDTH), lambda module, v: module(v.x.transpose(0, 1))[0].transpose(0, 1)
    ),
    "lstm, packed": of_blocks(lambda: nn.LSTM(WIDTH, WIDTH, batch_first=True), packed),
    "cell": of_blocks(lambda: nn.GRUCell(WIDTH, WIDTH), by_cell),
    "bags": of_blocks(lambda: nn.EmbeddingBag(5, WIDTH, mode="sum"), bags),
}  # fmt: skip
ROW_LAYERS = [name for name, kind in LAYERS.items() if kind.rows]


# --- alterations of a layer ----------------------------------------------------------------------------------------


class Squared(nn.Module):
    def forward(self, weight):
        return weight.square() - 0.3


def first_parameter(module: nn.Module) -> nn.Parameter:
    return next(iter(module.parameters()))


def every_second(p: Tensor) -> Tensor:
    return (torch.arange(p.numel()) % 2).reshape(p.shape).to(p)


def without_first_row(g: Tensor) -> Tensor:
    """As where part of an embedding is frozen."""
    kept = torch.arange(g.shape[0] if g.dim() else 1) > 0
    return g * kept.view(-1, *[1] * (g.dim() - 1)) if g.dim() else g * 0


def old_weight_norm(module: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.nn.utils.weight_norm(module)


def doubled(output):
    return 2.0 * output if isinstance(output, Tensor) else output


def on_parameter(hook: Callable[[Tensor], Tensor]) -> Callable[[nn.Module], None]:
    return lambda module: [p.register_hook(hook) for p in module.parameters()]


def on_weight(change: Callable[[nn.Module], object]) -> Callable[[nn.Module], None]:
    """A change of the matrix `weight`, where the module has one."""

    def altered(module: nn.Module) -> None:
        if isinstance(getattr(module, "weight", None), Tensor) and module.weight.dim() == 2:
            change(module)

    return altered


def replace_forward(module: nn.Module) -> None:
    plain = module.forward
    module.forward = lambda *args, **kwargs: doubled(plain(*args, **kwargs))


def count_calls(module: nn.Module) -> None:
    module.register_buffer("calls", torch.zeros(()))
    module.register_forward_pre_hook(lambda module, args: module.calls.add_(1) and None)


ALTERATIONS: dict[str, Callable[[nn.Module], object]] = {
    "not": lambda module: None,
    "frozen in part": lambda module: first_parameter(module).requires_grad_(False),
    "gradient masked": lambda module: first_parameter(module).register_hook(lambda g: g * every_second(g)),
    "gradient of a row masked": lambda module: first_parameter(module).register_hook(without_first_row),
    "gradients scaled": on_parameter(lambda g: 0.1 * g),
    "gradients clamped": on_parameter(lambda g: g.clamp(-0.01, 0.01)),
    "large gradients clamped": on_parameter(lambda g: g.clamp(-0.5, 0.5)),
    "output doubled by a hook": lambda module: module.register_forward_hook(lambda m, args, out: doubled(out)),
    "weight added by a hook": lambda module: module.register_forward_hook(
        lambda m, args, out: out + first_parameter(m).sum() if isinstance(out, Tensor) else out
    ),
    "input changed by a hook": lambda module: module.register_forward_pre_hook(
        lambda m, args: tuple(a.tanh() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
    ),
    "gradient reversed by a hook": lambda module: module.register_full_backward_hook(
        lambda m, grad_in, grad_out: tuple(None if g is None else -0.5 * g for g in grad_in)
    ),
    "gradient scaled by a hook before": lambda module: module.register_full_backward_pre_hook(
        lambda m, grad_out: tuple(None if g is None else 0.5 * g for g in grad_out)
    ),
    "forward replaced": replace_forward,
    "weight norm": on_weight(parametrizations.weight_norm),
    "old weight norm": on_weight(old_weight_norm),
    "spectral norm": on_weight(parametrizations.spectral_norm),
    "orthogonal": on_weight(parametrizations.orthogonal),
    "parametrized": on_weight(lambda module: parametrize.register_parametrization(module, "weight", Squared())),
    "pruned": on_weight(lambda module: prune.custom_from_mask(module, "weight", every_second(module.weight))),
    "calls counted in a buffer": count_calls,
}


# --- ways of one use -----------------------------------------------------------------------------------------------


def written_to_input(call: Inner, v: Values) -> Tensor:
    x = v.x * 1.0
    out = call(replace(v, x=x))
    x += 1.0
    return out.tanh() * x.sin()


def called_without_gradient_first(call: Inner, v: Values) -> Tensor:
    with torch.no_grad():
        call(v)
    return call(v).tanh()


def gradient_hook_on_output(call: Inner, v: Values) -> Tensor:
    return hooked(call(v), lambda g: 0.5 * g).tanh()


def large_gradient_clipped(call: Inner, v: Values) -> Tensor:
    return hooked(call(v), lambda g: g.clamp(-0.2, 0.2)).tanh()


def hooked(out: Tensor, hook: Callable[[Tensor], Tensor]) -> Tensor:
    if out.requires_grad:
        out.register_hook(hook)
    return out


USES: dict[str, Callable[[Inner, Values], Tensor]] = {
    "tanh": lambda call, v: call(v).tanh(),
    "residual": lambda call, v: v.x + call(v),
    "twice": lambda call, v: call(replace(v, x=call(v).tanh())),
    "and its input": lambda call, v: call(v).tanh() * v.x.sin(),
    "relu in place": lambda call, v: F.relu(call(v), inplace=True) + 0.1 * v.x,
    "output written to": lambda call, v: call(v).mul_(0.5).add_(v.x),
    "input written to": written_to_input,
    "without gradient first": called_without_gradient_first,
    "cut from its input": lambda call, v: call(replace(v, x=v.x.detach())).tanh() + v.x,
    "gradient reversed": lambda call, v: Reversal.apply(call(v)).tanh(),
    "gradient hook on the output": gradient_hook_on_output,
    "large gradients clipped on the output": large_gradient_clipped,
    "branch without gradient": lambda call, v: call(v).detach() + v.x,
}


def functional_use(module: nn.Module, v: Values) -> Tensor:
    """A parameter of a module without a call of the module."""
    p = first_parameter(module)
    if p.shape == (WIDTH, WIDTH):
        return F.linear(v.x, p).tanh()
    return v.x * (1 + p.sin().mean())


# --- frames --------------------------------------------------------------------------------------------------------


def permuted(order: Callable[[Values], Tensor]) -> Callable[[Values, Inner, Inner], Tensor]:
    def frame(v: Values, inner: Inner, other: Inner) -> Tensor:
        moved = order(v)
        return inner(v.at(lambda values: values[moved]))[moved.argsort()]

    return frame


def repeated(v: Values, inner: Inner, other: Inner) -> Tensor:
    copies = inner(v.at(lambda values: values.repeat_interleave(2, dim=0)))
    return copies[::2] * copies[1::2]


def doubled_up(v: Values, inner: Inner, other: Inner) -> Tensor:
    """A siamese pair as one batch."""
    both = v.at(lambda values: torch.cat([values, values]))
    first, second = inner(replace(both, x=torch.cat([v.x, v.x.cos()]))).chunk(2)
    return first * second


def in_chunks(v: Values, inner: Inner, other: Inner) -> Tensor:
    parts = zip(v.x.chunk(2), v.marks.chunk(2), v.keys.chunk(2), strict=True)
    return torch.cat([inner(Values(*part)) for part in parts])


def one_by_one(v: Values, inner: Inner, other: Inner) -> Tensor:
    """A loop over examples whose way is decided by their content."""
    ways = [other if key % 2 else inner for key in v.of_examples(v.keys).tolist()]
    return torch.cat([way(v.at(lambda values, i=i: values[i : i + 1])) for i, way in enumerate(ways)])


def chosen_examples(v: Values, inner: Inner, other: Inner) -> Tensor:
    """Examples of even keys in, the others left as they are: an early exit."""
    at = v.of_examples(v.keys) % 2 == 0
    out = v.x.clone()
    if at.any():
        out[at] = inner(v.at(lambda values: values[at]))
    return out


def sent_to_one_of_two(v: Values, inner: Inner, other: Inner) -> Tensor:
    (even,), (odd,) = ((v.of_examples(v.keys) % 2 == k).nonzero(as_tuple=True) for k in (0, 1))
    out = torch.zeros_like(v.x)
    for at, way in ((even, inner), (odd, other)):
        out = out.index_copy(0, at, way(v.at(lambda values, at=at: values.index_select(0, at))))
    return out


def both_and_where(v: Values, inner: Inner, other: Inner) -> Tensor:
    even = (v.of_examples(v.keys) % 2 == 0).view(-1, *[1] * (v.x.dim() - 1))
    return torch.where(even, inner(v), other(v))


def chosen_and_doubled(v: Values, inner: Inner, other: Inner) -> Tensor:
    """Examples of even keys twice, the others not at all."""
    (at,) = (v.of_examples(v.keys) % 2 == 0).nonzero(as_tuple=True)
    rows = torch.cat([at, at])
    return v.x.index_add(0, rows, inner(v.at(lambda values: values[rows])))


def checkpointed(v: Values, inner: Inner, other: Inner) -> Tensor:
    return checkpoint(lambda x: inner(replace(v, x=x)), v.x, use_reentrant=False)


def marked_rows(v: Values, inner: Inner, other: Inner) -> Tensor:
    if not v.marks.any():
        return v.x
    out = v.x.clone()
    out[v.marks] = inner(v.at(lambda values: values[v.marks]))
    return out


def marked_rows_by_scatter(v: Values, inner: Inner, other: Inner) -> Tensor:
    spread = v.marks.unsqueeze(-1).expand_as(v.x)
    rows = inner(Values(v.x.masked_select(spread).view(-1, WIDTH), v.marks[v.marks], v.keys[v.marks]))
    return torch.zeros_like(v.x).masked_scatter(spread, rows)


def marked_rows_by_index(v: Values, inner: Inner, other: Inner) -> Tensor:
    flat = v.flat()
    (at,) = flat.marks.nonzero(as_tuple=True)
    rows = inner(flat.at(lambda values: values.index_select(0, at)))
    return torch.zeros_like(flat.x).index_add(0, at, rows).view_as(v.x)


def marked_rows_by_gather(v: Values, inner: Inner, other: Inner) -> Tensor:
    flat = v.flat()
    at = flat.marks.nonzero().expand(-1, WIDTH)
    rows = inner(Values(flat.x.gather(0, at), flat.marks[at[:, 0]], flat.keys[at[:, 0]]))
    return flat.x.scatter_add(0, at, rows).view_as(v.x)


def marked_rows_from_list(v: Values, inner: Inner, other: Inner) -> Tensor:
    """A ragged batch: the marked rows of every example, one after the other."""
    if v.x.dim() == 2:
        return marked_rows(v, inner, other)
    lists = [[values[i][v.marks[i]] for i in range(len(v.x))] for values in (v.x, v.marks, v.keys)]
    rows = inner(Values(*map(torch.cat, lists))).split(v.marks.sum(1).tolist())
    return torch.stack([x + part.sum(0) for x, part in zip(v.x, rows, strict=True)])


def chosen_by(
    select: Callable[[Tensor, Tensor], Tensor], put_back: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Callable[[Values, Inner, Inner], Tensor]:
    """Marked rows by select(rows, their numbers), and added to the others by put_back(rows, numbers, new ones)."""

    def frame(v: Values, inner: Inner, other: Inner) -> Tensor:
        flat = v.flat()
        (at,) = flat.marks.nonzero(as_tuple=True)
        if not len(at):
            return v.x
        rows = inner(Values(select(flat.x, at), flat.marks[at], flat.keys[at]))
        return put_back(flat.x, at, rows).view_as(v.x)

    return frame


def added(x: Tensor, at: Tensor, rows: Tensor) -> Tensor:
    return x.index_add(0, at, rows)


def one_hot(x: Tensor, at: Tensor) -> Tensor:
    return F.one_hot(at, len(x)).to(x)


def sorted_and_cut(x: Tensor, at: Tensor) -> Tensor:
    """The marked rows first, and only those of them."""
    rest = torch.ones(len(x)).index_fill(0, at, 0.0)
    return x[rest.argsort(stable=True)][: len(at)]


def from_slices(x: Tensor, at: Tensor, rows: Tensor) -> Tensor:
    """Every row with the new one that is meant for it, if there is one."""
    new = dict(zip(at.tolist(), rows.unbind(), strict=True))
    return torch.stack([row + new[i] if i in new else row for i, row in enumerate(x.unbind())])


def packed_rows(v: Values, inner: Inner, other: Inner) -> Tensor:
    """Rows of a packed sequence: those of the first position of all examples, then of the second ..."""
    if v.x.dim() == 2:
        return inner(v)
    lengths = v.marks.sum(1).clamp(min=1)
    marks, keys = (
        pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False).data
        for values in (v.marks, v.keys)
    )
    sequence = pack_padded_sequence(v.x, lengths, batch_first=True, enforce_sorted=False)
    new = sequence._replace(data=inner(Values(sequence.data, marks, keys)))
    return v.x + pad_packed_sequence(new, batch_first=True, total_length=v.x.shape[1])[0]


def rows_as_often_as_marked(v: Values, inner: Inner, other: Inner) -> Tensor:
    """Marked rows three times, the others once."""
    flat = v.flat()
    at = torch.arange(len(flat.x)).repeat_interleave(1 + 2 * flat.marks.long())
    rows = inner(flat.at(lambda values: values[at]))
    return torch.zeros_like(flat.x).index_add(0, at, rows).view_as(v.x)


def row_with_largest_key(v: Values, inner: Inner, other: Inner) -> Tensor:
    """One row of every example, chosen by content."""
    if v.x.dim() == 2:
        return inner(v)
    every, at = torch.arange(len(v.x)), v.keys.argmax(1)
    return v.x + inner(v.at(lambda values: values[every, at])).unsqueeze(1)


def sorted_rows(v: Values, inner: Inner, other: Inner) -> Tensor:
    flat = v.flat()
    order = flat.keys.argsort()
    return inner(flat.at(lambda values: values[order]))[order.argsort()].view_as(v.x)


def at_every_position(v: Values, inner: Inner, other: Inner) -> Tensor:
    if v.x.dim() == 2:
        return inner(v)
    slices = (v.at(lambda values, t=t: values[:, t]) for t in range(v.x.shape[1]))
    return torch.stack([inner(part) for part in slices], dim=1)


def positions_first(v: Values, inner: Inner, other: Inner) -> Tensor:
    if v.x.dim() == 2:
        return inner(v.at(lambda values: values.flip(0))).flip(0)
    return inner(v.at(lambda values: values.transpose(0, 1))).transpose(0, 1)


def first_positions_of_all(v: Values, inner: Inner, other: Inner) -> Tensor:
    """All rows, those of a position together, the examples of each in turn; as many at a time as there are examples."""
    flat = v.at(lambda values: values.transpose(0, 1) if v.x.dim() == 3 else values).flat()
    size = max(1, len(v.x))
    parts = zip(*(values.split(size) for values in (flat.x, flat.marks, flat.keys)), strict=True)
    rows = torch.cat([inner(Values(*part)) for part in parts])
    return rows.view(v.x.shape[1], v.x.shape[0], WIDTH).transpose(0, 1) if v.x.dim() == 3 else rows


def rows_in_pieces(v: Values, inner: Inner, other: Inner) -> Tensor:
    """Rows of all examples one after the other, as many at a time as there are examples."""
    flat, size = v.flat(), max(1, len(v.x))
    parts = zip(*(values.split(size) for values in (flat.x, flat.marks, flat.keys)), strict=True)
    return torch.cat([inner(Values(*part)) for part in parts]).view_as(v.x)


def first_piece(v: Values, inner: Inner, other: Inner) -> Tensor:
    """The marked rows and, to fill up, rows of zeros, as many as there are examples."""
    flat, n = v.flat(), len(v.x)
    (at,) = flat.marks.nonzero(as_tuple=True)
    padding = max(0, n - len(at))
    rows = inner(
        Values(
            torch.cat([flat.x[at], flat.x.new_zeros(padding, WIDTH)]),
            torch.cat([flat.marks[at], flat.marks.new_zeros(padding)]),
            torch.cat([flat.keys[at], flat.keys.new_zeros(padding)]),
        )
    )
    return flat.x.index_add(0, at, rows[: len(at)]).view_as(v.x)


def vectorised(v: Values, inner: Inner, other: Inner) -> Tensor:
    return torch.func.vmap(lambda x, marks, keys: inner(Values(x, marks, keys)))(v.x, v.marks, v.keys)


@dataclass(frozen=True)
class FrameKind:
    """A frame.

    run: (values, steps, other steps) -> [..., 4].
    rows: whether the steps inside see rows, and not examples.
    branches: whether it takes other steps too.
    uses_only: whether there is to be no frame inside; one that chooses by axis would mix examples there.
    """

    run: Callable[[Values, Inner, Inner], Tensor]
    rows: bool = False
    branches: bool = False
    uses_only: bool = False


FRAMES = {
    "flipped": FrameKind(permuted(lambda v: torch.arange(len(v.x)).flip(0))),
    "rolled": FrameKind(permuted(lambda v: torch.arange(len(v.x)).roll(1))),
    "sorted": FrameKind(permuted(lambda v: v.of_examples(v.keys).argsort())),
    "repeated": FrameKind(repeated),
    "as a pair": FrameKind(doubled_up),
    "in chunks": FrameKind(in_chunks),
    "one by one": FrameKind(one_by_one, branches=True),
    "chosen examples": FrameKind(chosen_examples),
    "sent to one of two": FrameKind(sent_to_one_of_two, branches=True),
    "both and where": FrameKind(both_and_where, branches=True),
    "chosen and doubled": FrameKind(chosen_and_doubled),
    "checkpointed": FrameKind(checkpointed),
    "flat rows": FrameKind(lambda v, inner, other: inner(v.flat()).view_as(v.x), rows=True),
    "marked rows": FrameKind(marked_rows, rows=True),
    "marked rows by scatter": FrameKind(marked_rows_by_scatter, rows=True),
    "marked rows by index": FrameKind(marked_rows_by_index, rows=True),
    "marked rows by gather": FrameKind(marked_rows_by_gather, rows=True),
    "marked rows from a list": FrameKind(marked_rows_from_list, rows=True),
    "marked rows by product": FrameKind(
        chosen_by(lambda x, at: one_hot(x, at) @ x, lambda x, at, rows: x + one_hot(x, at).T @ rows), rows=True
    ),
    "marked rows by a function of its own": FrameKind(chosen_by(OwnSelection.apply, added), rows=True),
    "marked rows by lookup": FrameKind(chosen_by(lambda x, at: F.embedding(at, x), added), rows=True),
    "marked rows by slices": FrameKind(
        chosen_by(lambda x, at: torch.stack([x[i] for i in at.tolist()]), from_slices), rows=True
    ),
    "marked rows by sorting": FrameKind(
        chosen_by(
            sorted_and_cut,
            lambda x, at, rows: x.scatter_reduce(0, at.unsqueeze(-1).expand_as(rows), rows, "sum"),
        ),
        rows=True,
    ),
    "packed rows": FrameKind(packed_rows, rows=True),
    "one row of all": FrameKind(
        lambda v, inner, other: inner(
            v.at(lambda values: values.reshape(1, -1, *values.shape[v.marks.dim() :]))
        ).view_as(v.x),
        rows=True,
        uses_only=True,
    ),
    "marked rows three times": FrameKind(rows_as_often_as_marked, rows=True),
    "marked rows and padding": FrameKind(first_piece, rows=True),
    "row with the largest key": FrameKind(row_with_largest_key, rows=True),
    "sorted rows": FrameKind(sorted_rows, rows=True),
    "at every position": FrameKind(at_every_position, rows=True),
    "positions first": FrameKind(positions_first, rows=True, uses_only=True),
    "position by position, as many rows as examples": FrameKind(first_positions_of_all, rows=True),
    "as many rows at a time as examples": FrameKind(rows_in_pieces, rows=True),
    "vectorised": FrameKind(vectorised, rows=True),
}


# --- what mixes, losses, hooks on all modules ----------------------------------------------------------------------

MIXING: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "centred": lambda x: x - 0.5 * x.mean(0),
    "rolled": lambda x: x.roll(1, 0),
    "attention over examples": lambda x: (
        x + torch.einsum("mtk,ntk->mn", x, x).mul(0.1).softmax(1).matmul(x.flatten(1)).view_as(x)
    ),
    "batch statistics": lambda x: F.batch_norm(x.transpose(1, 2), None, None, training=True).transpose(1, 2),
    "dropout": lambda x: F.dropout(x, 0.5),
    "noise": lambda x: x + torch.randn_like(x),
    "divided by the size of the batch": lambda x: x / len(x),
}  # fmt: skip


def picked(outputs) -> Tensor:
    if isinstance(outputs, dict):
        return outputs["out"]
    return outputs[0] if isinstance(outputs, tuple) else outputs


def penalty(outputs) -> Tensor | float:
    """A term that every loss has, and that depends on the weights alone."""
    has_one = isinstance(outputs, tuple) and isinstance(outputs[1], Tensor) and outputs[1].dim() == 0
    return 0.1 * outputs[1] if has_one else 0.0


def pooled(outputs, targets: Tensor) -> Tensor:
    return F.cross_entropy(picked(outputs).mean(1), targets[:, 0] % WIDTH, reduction="none") + penalty(outputs)


def squared(outputs, targets: Tensor) -> Tensor:
    return (picked(outputs).mean(1) - targets[:, :1] % WIDTH).square().sum(1) + penalty(outputs)


def of_every_position(outputs, targets: Tensor) -> Tensor:
    losses = F.cross_entropy(picked(outputs).transpose(1, 2), targets % WIDTH, reduction="none")
    return losses.sum(1) + penalty(outputs)


def of_chosen_positions(outputs, targets: Tensor) -> Tensor:
    """Targets below 4 count, as in masked language models; the rows of all examples at once."""
    out = picked(outputs)
    example, position = (targets < WIDTH).nonzero(as_tuple=True)
    losses = F.cross_entropy(out[example, position], targets[example, position], reduction="none")
    return out.new_zeros(len(out)).index_add(0, example, losses) + penalty(outputs)


LOSSES = {
    "pooled": pooled,
    "squared": squared,
    "of every position": of_every_position,
    "of chosen positions": of_chosen_positions,
}


def double_linear(module: nn.Module, args, output):
    return doubled(output) if isinstance(module, nn.Linear) else None


def squash_linear(module: nn.Module, args):
    return (args[0].tanh(), *args[1:]) if isinstance(module, nn.Linear) else None


def halve_gradient(module: nn.Module, grad_in, grad_out):
    return tuple(None if g is None else 0.5 * g for g in grad_in) if isinstance(module, nn.Linear) else None


GLOBAL_HOOKS: dict[str, Callable[[], object]] = {
    "forward": lambda: nn.modules.module.register_module_forward_hook(double_linear),
    "before forward": lambda: nn.modules.module.register_module_forward_pre_hook(squash_linear),
    "backward": lambda: nn.modules.module.register_module_full_backward_hook(halve_gradient),
}


@contextmanager
def global_hook(kind: str) -> Iterator[None]:
    handle = GLOBAL_HOOKS[kind]() if kind != "none" else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


# --- the network ---------------------------------------------------------------------------------------------------


class Drawn(nn.Module):
    """The network of a problem, with weights of its own seed."""

    def __init__(self, problem: Problem):
        super().__init__()
        network, self.problem = problem.network, problem
        self.layers = nn.ModuleList(LAYERS[layer.kind].build(problem.sample.positions) for layer in network.layers)
        if network.tokens:
            self.table = nn.Embedding(TOKENS, WIDTH)
        self.apply(away_from_defaults)
        for module, layer in zip(self.layers, network.layers, strict=True):
            tie(module, self.layers[layer.tied_to] if layer.tied_to is not None else module)
        for module, layer in zip(self.layers, network.layers, strict=True):
            ALTERATIONS[layer.altered](module)
        if network.twice_named is not None:
            self.again = self.layers[network.twice_named]

    def forward(self, inputs: Tensor):
        network = self.problem.network
        content = inputs if network.tokens else inputs[..., -2:]
        marks = content % 2 == 1 if network.tokens else content[..., 0] > 0
        keys = content // 2 if network.tokens else content[..., 1].long()
        x = self.table(inputs) if network.tokens else inputs[..., :WIDTH]
        out = self.through(network.steps, Values(MIXING[network.mixing](x), marks, keys))
        if network.output == "with penalty":
            return out, sum(p.square().sum() for p in self.layers[0].parameters())
        return {"tensor": out, "tuple": (out, marks), "dict": {"out": out}}[network.output]

    def through(self, steps: Sequence[Use | Frame], v: Values) -> Tensor:
        for step in steps:
            v = replace(v, x=self.one(step, v))
        return v.x

    def one(self, step: Use | Frame, v: Values) -> Tensor:
        if isinstance(step, Frame):
            return FRAMES[step.kind].run(
                v, lambda inside: self.through(step.steps, inside), lambda inside: self.through(step.others, inside)
            )
        module, kind = self.layers[step.layer], LAYERS[self.problem.network.layers[step.layer].kind]
        if step.how == "functional":
            return functional_use(module, v)
        return USES[step.how](lambda inside: kind.call(module, inside), v)


def away_from_defaults(module: nn.Module) -> None:
    """Running statistics, gains and biases that no constructor sets."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.running_mean.normal_(std=0.3)
        module.running_var.uniform_(0.5, 2.0)
    for p in module.parameters(recurse=False):
        if p.dim() == 1:
            p.data += torch.randn_like(p) * 0.3


def tie(module: nn.Module, other: nn.Module) -> None:
    ours, theirs = (getattr(each, "weight", None) for each in (module, other))
    if isinstance(ours, nn.Parameter) and isinstance(theirs, nn.Parameter) and ours.shape == theirs.shape:
        module.weight = theirs


def network_of(problem: Problem) -> nn.Module:
    torch.manual_seed(problem.sample.seed)
    network = Drawn(problem).double()
    for module in network.modules():  # which .double() leaves as they are
        for p in module.parameters(recurse=False):
            if p.is_complex():
                p.data = p.data.to(torch.complex128)
    return network


def batches_of(problem: Problem) -> list[tuple[Tensor, ...]]:
    """(inputs, targets int [n, t]) or (inputs, targets, group ids int [n]).

    Inputs are [n, t, 6], the last two the mark's sign and the key, or token numbers [n, t], odd where marked.
    """
    generator = torch.Generator().manual_seed(problem.sample.seed)
    batches = []
    for counts in problem.sample.marked:
        n, t = len(counts), problem.sample.positions
        marks = torch.arange(t) < torch.tensor(counts)[:, None]
        keys = torch.randint(0, 5, (n, t), generator=generator)
        if problem.sample.keyed_by_mark:
            keys = 2 * (keys % 2) + (~marks).long()
        values = torch.randn(n, t, WIDTH, generator=generator, dtype=torch.float64)
        targets = torch.randint(0, 2 * WIDTH, (n, t), generator=generator)
        ids = torch.randint(0, 2, (n,), generator=generator)
        told = torch.stack([torch.where(marks, 1.0, -1.0), keys + 0.5], dim=-1).double()
        inputs = 2 * keys + marks if problem.network.tokens else torch.cat([values, told], dim=-1)
        batches.append((inputs, targets, ids) if problem.sample.grouped else (inputs, targets))
    return batches


# --- strategies ----------------------------------------------------------------------------------------------------


def steps(layers: Sequence[Layer], rows: bool, depth: int) -> st.SearchStrategy[tuple[Use | Frame, ...]]:
    """Steps that use these layers, on rows or on examples, with frames in frames down to `depth`."""
    usable = [i for i, layer in enumerate(layers) if not rows or LAYERS[layer.kind].rows]
    hows = [*USES, "functional"]
    ways = st.sampled_from(["tanh"] * len(hows) + hows)
    uses = st.builds(Use, st.sampled_from(usable), ways) if usable else None
    frames = None
    if depth > 0:
        frames = st.sampled_from([*FRAMES]).flatmap(lambda kind: frame(kind, layers, rows, depth - 1))
    offered = [each for each in (uses, frames) if each is not None]
    return st.lists(st.one_of(offered), min_size=0 if rows else 1, max_size=2).map(tuple) if offered else st.just(())


def frame(kind: str, layers: Sequence[Layer], rows: bool, depth: int) -> st.SearchStrategy[Frame]:
    inside = steps(layers, rows or FRAMES[kind].rows, 0 if FRAMES[kind].uses_only else depth)
    return st.builds(Frame, st.just(kind), inside, inside if FRAMES[kind].branches else st.just(()))


def layers_of_kinds(kinds: Sequence[str], tied_to: Sequence[int | None]) -> st.SearchStrategy[Layer]:
    alterations = st.sampled_from(["not"] * 2 * len(ALTERATIONS) + [*ALTERATIONS])
    return st.builds(Layer, st.sampled_from(kinds), alterations, st.sampled_from(tied_to))


@st.composite
def networks(draw, mixing: bool = False) -> Network:
    first = draw(layers_of_kinds(ROW_LAYERS, [None]))
    more = draw(st.lists(layers_of_kinds([*LAYERS], [None, None, None, 0]), max_size=2))
    layers = (first, *more)
    rarely = st.integers(0, 7).map(lambda number: number == 7)
    return Network(
        layers,
        draw(steps(layers, rows=False, depth=2)),
        tokens=draw(rarely),
        twice_named=0 if draw(rarely) else None,
        global_hook=draw(st.sampled_from([*GLOBAL_HOOKS])) if draw(rarely) else "none",
        output=draw(st.sampled_from(["tensor"] * 4 + ["tuple", "dict", "with penalty"])),
        loss=draw(st.sampled_from([*LOSSES])),
        mixing=draw(st.sampled_from([name for name in MIXING if name != "none"])) if mixing else "none",
    )


@st.composite
def samples(draw) -> Sample:
    """Of batches that show at once how rows belong to examples, and of ones that show it late or by chance never."""
    t = draw(st.sampled_from([3, 2, 4, 1]))
    sizes = draw(
        st.sampled_from([(4, 4), (4,), (4, 3, 5), (7, 4, 1), (t + 1, t), (2, 6), (1, 5), (1, t), (5, 4, 3, 2)])
    )
    first, later = draw(
        st.sampled_from(
            [("one each", "by chance")] * 3
            + [(kind, kind) for kind in COUNTS]
            + [("none", "by chance"), ("by chance", "any")]
        )
    )
    marked = (draw(COUNTS[later if place else first](n, t)) for place, n in enumerate(sizes))
    return Sample(t, tuple(marked), draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 3)))


def by_chance(n: int, t: int) -> st.SearchStrategy[tuple[int, ...]]:
    owners = st.lists(st.integers(0, n - 1), min_size=n, max_size=n)
    return owners.map(lambda drawn: tuple(min(drawn.count(i), t) for i in range(n)))


# Numbers of marked positions of n examples.
COUNTS: dict[str, Callable[[int, int], st.SearchStrategy[tuple[int, ...]]]] = {
    "one each": lambda n, t: st.just((1,) * n),
    "by chance": by_chance,  # as many as there are examples
    "any": lambda n, t: st.tuples(*[st.integers(0, t)] * n),
    "none": lambda n, t: st.just((0,) * n),
}


def pieces() -> dict[str, Problem]:
    """Every piece alone, on examples that first have one marked row each, and then as many by chance."""
    use, pair = (Use(0),), (Layer("linear"), Layer("gain"))
    drawn = {f"layer: {kind}": Network((Layer(kind),), use) for kind in LAYERS}
    drawn |= {f"altered: {kind}": Network((Layer("linear", kind),), use) for kind in ALTERATIONS}
    drawn |= {f"used: {how}": Network((Layer("linear"),), (Use(0, how),)) for how in [*USES, "functional"]}
    drawn["used: input written to"] = Network((Layer("linear", "frozen in part"),), (Use(0, "input written to"),))
    drawn |= {
        f"frame: {kind}": Network(pair, (Frame(kind, use, (Use(1),) if FRAMES[kind].branches else ()),))
        for kind in FRAMES
    }
    drawn |= {f"hook on all modules: {kind}": Network(pair, use, global_hook=kind) for kind in GLOBAL_HOOKS}
    drawn |= {f"loss: {kind}": Network(pair, use, loss=kind) for kind in LOSSES}
    drawn |= {f"output: {kind}": Network(pair, use, output=kind) for kind in ("tuple", "dict", "with penalty")}
    drawn |= {f"mixing: {kind}": Network(pair, use, mixing=kind) for kind in MIXING if kind != "none"}
    drawn |= {
        "token numbers": Network(pair, use, tokens=True),
        "tied": Network((Layer("linear"), Layer("linear without bias", tied_to=0)), (Use(0), Use(1))),
        "two names": Network(pair, use, twice_named=0),
    }
    sample = Sample(3, ((1, 1, 1, 1), (3, 0, 0, 1), (1, 2, 1)), grouped=True)
    return {name: Problem(network, sample) for name, network in drawn.items()}


def problems(mixing: bool = False) -> st.SearchStrategy[Problem]:
    return st.builds(Problem, networks(mixing), samples())
