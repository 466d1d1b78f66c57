"""Gradient statistics of many networks, on one device, against the loop over single examples; a part of gpu.py.

Index letters: n examples, G groups, P parameters.

Every network is measured in float64 and in float32, with the groups one by one and mixed in a batch. The largest error
is that of any parameter and group:

    Q      relative to itself
    S_a.S_b   relative to sqrt(S_a.S_a + Q_a) sqrt(S_b.S_b + Q_b): a sum is rounded relative to its terms, and this is
           what m-coherence = |S|^2 / Q needs

A parameter's own value is widened by some rounding of the whole model's, as a gradient that vanishes by cancellation
(that of attention's key bias) is rounding of the others.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torchvision import models

from mcoherence import GradientStatistics, gradient_statistics
from mcoherence.gradients.reference import per_example_gradients

Row = dict[str, Any]
PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
CLASSES = 5
GROUPS = ("a", "b", "c")

# float64: far above rounding, which is some 1e-14 here, and far below what any mistake does.
# float32 without TF32: sums of up to 1e5 products round to 1e-5; the convolution library may take another way for a
# batch than for an example, and Winograd's costs another digit; a ReLU within rounding of 0 takes one term of a sum
# with it. A rule that is wrong is off by more than a tenth.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-3}


@dataclass(frozen=True)
class Network:
    """A network to measure.

    build: makes it, with random weights.
    shape: of one example.
    tokens: where above 0, examples are integers below it.
    whole_model: names of the parameters that only the fallback through the whole model can measure.
    examples: n.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    tokens: int = 0
    whole_model: frozenset[str] = frozenset()
    examples: int = 12


class Written(nn.Module):
    """A network of the given modules and parameters, and a forward function of (itself, x)."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        """What the function makes of the inputs [n, ...]."""
        return self.function(self, x)


class Scale(nn.Module):
    """A layer type of the user's own, for which there is no rule."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        """[n, width] of [n, width]."""
        return (x * self.gain).sin() + self.gain.square()


def bare(*shape: int) -> nn.Parameter:
    """A parameter that belongs to no layer."""
    return nn.Parameter(torch.randn(shape))


def mlp() -> nn.Module:
    """Linear layers, with bias and without."""
    return nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 32, bias=False), nn.ReLU(), nn.Linear(32, CLASSES))


def cnn() -> nn.Module:
    """Convolutions and batch norm."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, CLASSES),
    )  # fmt: skip


def vgg11_bn() -> nn.Module:
    """VGG-11 with batch norm; nearly all of its 1e8 weights are in two layers of its classifier, 32 wide here."""
    model = models.vgg11_bn(num_classes=CLASSES)
    model.avgpool = nn.Identity()
    model.classifier = nn.Sequential(nn.Linear(512, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, CLASSES))
    return model


def grouped_convolutions() -> nn.Module:
    """Groups of channels, depthwise, dilated, strided, 1x1."""
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, groups=8, dilation=2, bias=False),
        nn.Conv2d(8, 16, 1), nn.GELU(), nn.Conv2d(16, 16, (3, 1), groups=16, stride=2), nn.Flatten(),
        nn.LazyLinear(CLASSES),
    )  # fmt: skip


def padding_modes() -> nn.Module:
    """Every padding mode but zeros, and padding by name."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), nn.Tanh(),
        nn.Conv2d(4, 4, 3, padding=(2, 1), padding_mode="circular", stride=2), nn.Tanh(),
        nn.Conv2d(4, 4, 5, padding=2, padding_mode="replicate"), nn.Tanh(),
        nn.Conv2d(4, 4, (3, 5), padding="same", dilation=2), nn.Flatten(), nn.LazyLinear(CLASSES),
    )  # fmt: skip


def one_and_three_axes() -> nn.Module:
    """A convolution over three axes, then one over one."""
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.Tanh(), nn.Flatten(2), nn.Conv1d(4, 6, 5, stride=3, padding=2), nn.Tanh(),
        nn.Flatten(), nn.LazyLinear(CLASSES),
    )  # fmt: skip


def norms() -> nn.Module:
    """Group, instance and layer norm."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Tanh(), nn.Conv2d(8, 8, 3, stride=2),
        nn.InstanceNorm2d(8, affine=True), nn.Tanh(), nn.Flatten(), nn.LazyLinear(16), nn.LayerNorm(16), nn.Tanh(),
        nn.Linear(16, CLASSES),
    )  # fmt: skip


def convnext() -> nn.Module:
    """A small ConvNeXt: depthwise 7x7, layer norm over channels, layer scale."""
    blocks = [models.convnext.CNBlockConfig(16, 24, 2), models.convnext.CNBlockConfig(24, None, 2)]
    return models.ConvNeXt(blocks, layer_scale=0.5, num_classes=CLASSES)


def swin() -> nn.Module:
    """A small Swin transformer, which hands the weights of its attention to a function."""
    return models.SwinTransformer([4, 4], 12, [2, 2], [2, 4], [4, 4], num_classes=CLASSES)


def cross_attention() -> nn.Module:
    """Attention whose query is not its key."""
    return Written(
        lambda m, x: m.head(m.attention(x, x.sin(), x)[0].mean(1)),
        attention=nn.MultiheadAttention(16, 4, batch_first=True), head=nn.Linear(16, CLASSES),
    )  # fmt: skip


def language_model() -> nn.Module:
    """Token and position embeddings, a transformer encoder with dropout."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
    return Written(
        lambda m, x: m.head(m.encoder(m.embed(x) + m.position).mean(1)),
        embed=nn.Embedding(11, 16), position=bare(1, 9, 16),
        encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), head=nn.Linear(16, CLASSES),
    )  # fmt: skip


def lstm() -> nn.Module:
    """A bidirectional LSTM of two layers with dropout between them."""
    recurrent = nn.LSTM(8, 10, num_layers=2, dropout=0.3, bidirectional=True, batch_first=True)
    return Written(
        lambda m, x: m.head(m.lstm(m.embed(x))[0][:, -1]),
        embed=nn.Embedding(11, 8), lstm=recurrent, head=nn.Linear(20, CLASSES),
    )  # fmt: skip


def tied_weights() -> nn.Module:
    """Weights tied as in language models: the table maps in, and out again as a function's argument."""
    return Written(
        lambda m, x: F.linear(m.inner(m.embed(x).mean(1)).tanh(), m.embed.weight),
        embed=nn.Embedding(CLASSES, 8), inner=nn.Linear(8, 8),
    )  # fmt: skip


def tied_layers() -> nn.Module:
    """Two layers that share one weight."""
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, CLASSES))
    model[2].weight = model[0].weight
    return model


def reused_module() -> nn.Module:
    """One layer called twice."""
    shared = nn.Linear(16, 16)
    return nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(16, CLASSES))


def bare_parameters() -> nn.Module:
    """Class token, position embedding and layer scale, each spread over the examples by one operation."""
    return Written(
        lambda m, x: m.head((torch.cat([m.token.expand(len(x), -1, -1), x], 1) + m.position).tanh()[:, 0] * m.gain),
        token=bare(1, 1, 16), position=bare(1, 7, 16), gain=bare(16), head=nn.Linear(16, CLASSES),
    )  # fmt: skip


def bare_parameter_after_an_operation() -> nn.Module:
    """A bare parameter that is changed before it meets the examples."""
    return Written(
        lambda m, x: m.head((m.first(x) * m.gain.exp()).tanh()),
        first=nn.Linear(16, 8), gain=bare(8), head=nn.Linear(8, CLASSES),
    )  # fmt: skip


def functional_use() -> nn.Module:
    """A weight used by a function beside the call of its layer."""
    return Written(
        lambda m, x: m.head(m.first(x).tanh() @ m.first.weight), first=nn.Linear(16, 16), head=nn.Linear(16, CLASSES)
    )


def without_rule() -> nn.Module:
    """Layers without a rule: vmap over the layer alone."""
    return nn.Sequential(
        nn.ConvTranspose2d(2, 4, 3, stride=2), nn.PReLU(4), nn.Flatten(), nn.LazyLinear(16), Scale(16),
        nn.Linear(16, CLASSES),
    )  # fmt: skip


def beyond_vmap() -> nn.Module:
    """Distances to rows of a weight, in a forward that looks at a value: only the loop over examples measures it."""

    def forward(m: Any, x: Tensor) -> Tensor:
        finite = bool(x.isfinite().all())
        return m.head(torch.cdist(x, m.first.weight).tanh() if finite else x)

    return Written(forward, first=nn.Linear(16, 16, bias=False), head=nn.Linear(16, CLASSES))


NETWORKS = {
    "MLP": Network(mlp, (20,)),
    "CNN, batch norm": Network(cnn, (3, 16, 16)),
    "ConvNeXt": Network(convnext, (3, 32, 32)),
    "grouped, depthwise convolutions": Network(grouped_convolutions, (4, 12, 12)),
    "padding modes": Network(padding_modes, (2, 12, 12)),
    "convolutions over 1 and 3 axes": Network(one_and_three_axes, (1, 4, 5, 6)),
    "layer, group, instance norm": Network(norms, (3, 12, 12)),
    "vision transformer": Network(
        partial(models.VisionTransformer, 32, 8, 2, 4, 24, 48, num_classes=CLASSES), (3, 32, 32)
    ),
    "Swin transformer": Network(
        swin, (3, 32, 32),
    ),
    "cross-attention": Network(cross_attention, (6, 16)),
    "embedding, transformer encoder": Network(language_model, (9,), tokens=11),
    "embedding, LSTM": Network(lstm, (9,), tokens=11),
    "tied embedding": Network(tied_weights, (7,), tokens=CLASSES),
    "tied layers": Network(tied_layers, (16,)),
    "reused module": Network(reused_module, (16,)),
    "bare parameters": Network(bare_parameters, (6, 16)),
    "bare parameter after an operation": Network(
        bare_parameter_after_an_operation, (16,)
    ),
    "functional use of a weight": Network(functional_use, (16,)),
    "layers without a rule": Network(without_rule, (2, 5, 5)),
    "beyond vmap: loop": Network(beyond_vmap, (16,), whole_model=frozenset({"first.weight"})),
    # The large ones come last: what takes long is what a short time cuts.
    "ResNet-18": Network(partial(models.resnet18, num_classes=CLASSES), (3, 64, 64), examples=6),
    "VGG-11, batch norm": Network(vgg11_bn, (3, 32, 32), examples=6),
}  # fmt: skip


@dataclass(frozen=True)
class Sums:
    """Q, float64 [G, P], and the inner products of the groups' sums S_a . S_b, float64 [G, G, P]."""

    sum_sq: Tensor
    gram: Tensor


@dataclass(frozen=True)
class Problem:
    """A network in training mode on a device, inputs [n, ...], targets [n] and group ids [n], the groups in turn."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    ids: Tensor


def problem(network: Network, dtype: torch.dtype, device: torch.device) -> Problem:
    """The same random numbers on every device; a network's gradients are alive throughout."""
    torch.manual_seed(0)
    model, n = network.build(), network.examples
    inputs = torch.randint(0, network.tokens, (n, *network.shape)) if network.tokens else torch.randn(n, *network.shape)
    with torch.no_grad():
        model.eval()(inputs)  # lazy layers take their shape
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2.0)
        for p in model.parameters():  # zeros and ones, as constructors set them, hide mistakes
            if bool((p == p.flatten()[0]).all()):
                p.add_(torch.randn_like(p), alpha=0.1)
    inputs = inputs if network.tokens else inputs.to(dtype)
    targets, ids = torch.randint(0, CLASSES, (n,)), torch.arange(n) % len(GROUPS)
    moved = (each.to(device) for each in (inputs, targets, ids))
    return Problem(model.to(device, dtype).train(), *moved)


def sums_of_rows(rows: Mapping[str, Tensor], ids: Tensor) -> Sums:
    """What the loop's per-example gradients {parameter name: [n, *shape]} add up to, in float64."""
    sum_sq, gram = [], []
    for gradients in rows.values():
        groups = [gradients[ids == group].flatten(1).double() for group in range(len(GROUPS))]
        totals = torch.stack([group.sum(dim=0) for group in groups])
        sum_sq.append(torch.stack([group.square().sum() for group in groups]).cpu())
        gram.append((totals @ totals.T).cpu())
    return Sums(torch.stack(sum_sq, dim=-1), torch.stack(gram, dim=-1))


def sums_of_statistics(statistics: GradientStatistics) -> Sums:
    """What was measured."""
    by_group = [list(statistics.sum_sq_norm(by="parameter", groups=[group]).values()) for group in GROUPS]
    return Sums(torch.tensor(by_group, dtype=torch.float64), torch.as_tensor(statistics.gram))


def largest_error(found: Sums, expected: Sums, dtype: torch.dtype) -> float:
    """The largest error of any parameter and group, as the module's text defines it; NaN where there is a NaN."""
    finfo = torch.finfo(dtype)
    floor = (4 * finfo.eps * expected.sum_sq.sum(dim=1, keepdim=True)).clamp_min(finfo.tiny)  # [G, 1]
    sum_sq_errors = (found.sum_sq - expected.sum_sq).abs() / (expected.sum_sq + floor)
    scale = (torch.einsum("aap->ap", expected.gram) + expected.sum_sq + floor).sqrt()
    gram_errors = (found.gram - expected.gram).abs() / (scale[:, None] * scale[None, :])
    return float(torch.stack([sum_sq_errors.max(), gram_errors.max()]).max())


def batches_of_groups(given: Problem) -> list[tuple[Tensor, Tensor, Tensor]]:
    """One group after another, each in two batches."""
    members = [torch.nonzero(given.ids == group).flatten() for group in range(len(GROUPS))]
    parts = [part for chosen in members for part in (chosen[:1], chosen[1:])]
    return [(given.inputs[part], given.targets[part], given.ids[part]) for part in parts]


def mixed_batches(given: Problem) -> list[tuple[Tensor, Tensor, Tensor]]:
    """All groups in every batch, the last batch smaller."""
    parts = torch.arange(len(given.ids), device=given.ids.device).split(5)
    return [(given.inputs[part], given.targets[part], given.ids[part]) for part in parts]


def state_of(model: nn.Module) -> list[Tensor]:
    """Copies of all that measuring has to leave as found: weights, buffers, modes, `.grad`, torch's generators."""
    device = next(model.parameters()).device
    generators = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
    modes = torch.tensor([module.training for module in model.modules()])
    gradients = torch.tensor([p.grad is None for p in model.parameters()])
    return [value.detach().clone() for value in [*model.state_dict().values(), *generators, modes, gradients]]


def measured(given: Problem, batches: list[tuple[Tensor, Tensor, Tensor]]) -> GradientStatistics:
    """The statistics of the groups."""
    return gradient_statistics(given.model, PER_EXAMPLE, batches, groups=list(GROUPS))


def checked(network: Network, dtype: torch.dtype, device: torch.device) -> Row:
    """The row of one network in one dtype."""
    given = problem(network, dtype, device)
    expected = sums_of_rows(per_example_gradients(given.model, PER_EXAMPLE, given.inputs, given.targets), given.ids)
    before = state_of(given.model)
    by_group, mixed = measured(given, batches_of_groups(given)), measured(given, mixed_batches(given))
    as_found = all(torch.equal(a, b) for a, b in zip(before, state_of(given.model), strict=True))
    errors = {
        "groups one by one": largest_error(sums_of_statistics(by_group), expected, dtype),
        "groups mixed": largest_error(sums_of_statistics(mixed), expected, dtype),
    }
    if dtype == torch.float64 and device.type != "cpu":
        on_cpu = problem(network, dtype, torch.device("cpu"))
        there = sums_of_statistics(measured(on_cpu, mixed_batches(on_cpu)))
        errors["against the CPU"] = largest_error(sums_of_statistics(mixed), there, dtype)
    whole_model = {name for each in (by_group, mixed) for name in each.evidence.by_whole_model}
    as_expected = whole_model == set(network.whole_model)
    tolerance = TOLERANCE[dtype]
    notes = [] if as_expected else [f"through the whole model: {sorted(whole_model ^ network.whole_model)} unexpected"]
    notes += [] if as_found else ["the model or a generator was not left as found"]
    return {
        "errors": errors,
        "tolerance": tolerance,
        "whole_model": sorted(whole_model),
        "spot_at_kink": by_group.evidence.spot_at_kink or mixed.evidence.spot_at_kink,
        "left_as_found": as_found,
        "passed": as_found and as_expected and all(error <= tolerance for error in errors.values()),
        "result": "largest error "
        + ", ".join(f"{error:.1e} ({name})" for name, error in errors.items())
        + f"; tolerance {tolerance:.0e}; {len(whole_model)} parameters through the whole model",
        "note": "; ".join(notes),
    }


def correctness(
    device: torch.device, left: Callable[[], float], names: Sequence[str] = tuple(NETWORKS)
) -> Iterator[Row]:
    """A row for each of the named networks in float64 and in float32, as long as there is time left.

    Args:
        device: where to.
        left: seconds left to this section.
        names: of NETWORKS.
    """
    longest = 0.0
    for name in names:
        for dtype in TOLERANCE:
            row: Row = {"case": name, "setting": str(dtype).removeprefix("torch.")}
            if left() < 1.5 * longest:
                yield {**row, "passed": None, "result": "", "note": "cut: no time left to this section"}
                continue
            start = time.monotonic()
            try:
                row |= checked(NETWORKS[name], dtype, device)
            except Exception as error:
                row |= {"passed": False, "result": "", "note": f"{type(error).__name__}: {str(error)[:300]}"}
            seconds = time.monotonic() - start
            longest = max(longest, seconds)
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
            yield row | {"seconds": seconds}
