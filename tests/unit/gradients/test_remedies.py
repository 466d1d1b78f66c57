"""The advice of the gradient engine and of the optimisers: what was refused works once it was done."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from mcoherence import ExampleStatistics, example_statistics, gradient_statistics
from mcoherence.gradients.batch_norm import with_sample_statistics
from mcoherence.gradients.pairs import stiffness_by_class
from mcoherence.optim import M3, RM3, WinsorizedSGD
from mcoherence.optim.by_name import class_of
from tests.remedies.following import cases_of, follow, follows
from tests.unit.gradients.model_of_function import Model, Turned
from tests.unit.gradients.reversible import Reversible

CE = nn.CrossEntropyLoss(reduction="none")


def sample(n=6, shape=(4,), classes=3):
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, *shape, generator=generator), torch.arange(n) % classes


def linear(inputs=4, outputs=3):
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs)


def measured(model, loss=CE, batches=None, **options):
    return gradient_statistics(model, loss, [sample()] if batches is None else batches, **options)


# Batch norm


class EitherWay(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other, self.head = nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.one(x) if len(x) > 2 else self.other(x))


class OwnNorm(nn.BatchNorm1d):
    """Derived from torch's, as the message says."""


class StrangeNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(size))

    def forward(self, x):
        return x - self.running_mean


class WithState(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.kept = self.norm.weight * 2

    def forward(self, x):
        return self.head(self.norm(x))


@pytest.mark.parametrize(
    ("message", "build"),
    [
        ("batch norm that not every batch comes to, or not in one order: {}; the forward pass goes another way for",
         EitherWay),
        ("running statistics of a layer that is none of torch's: {} ({}); how it normalises in training is not",
         lambda: nn.Sequential(StrangeNorm(4), nn.Linear(4, 3))),
        ("a model that cannot be copied ({}); other batch norm statistics are set in a copy", WithState),
    ],
)  # fmt: skip
def test_what_has_no_statistics_of_the_sample_is_measured_with_running_ones(message, build):
    model, (inputs, targets) = build(), sample(5)
    batches = [(inputs[:3], targets[:3]), (inputs[3:], targets[3:])]

    def steps():
        yield lambda: with_sample_statistics(model, [(x,) for x, _ in batches])
        same = batches if build is not EitherWay else batches[:1]
        yield lambda: measured(model.eval(), batches=same, spot_check=0)
        if "torch" in message:
            derived = nn.Sequential(OwnNorm(4), nn.Linear(4, 3))
            yield lambda: measured(with_sample_statistics(derived, [(x,) for x, _ in batches]), batches=batches)

    follow(message, steps, None)


@follows("weights that a first pass is to make: {}; pass one batch through the model before it is measured")
def lazy_weights():
    model = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.Linear(5, 3))
    yield lambda: measured(model)
    model(sample()[0])
    yield lambda: measured(model)
    yield lambda: measured(with_sample_statistics(model, [(sample()[0],)]))


@follows("batch norm without running statistics: {}; it mixes the examples of a batch even in eval mode")
def batch_norm_without_statistics():
    yield lambda: measured(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), linear()))
    yield lambda: measured(nn.Sequential(nn.BatchNorm1d(4, track_running_stats=True), linear()))
    yield lambda: measured(nn.Sequential(nn.LayerNorm(4), linear()))


# Batches


class Loader:
    """Gives other batches, or fewer, each time that it is gone through, unless it is told to keep to the first."""

    def __init__(self, keeps, change):
        self.keeps, self.change, self.passes = keeps, change, 0

    def __iter__(self):
        self.passes += 1
        inputs, targets = sample()
        changed = self.passes > 1 and not self.keeps
        yield from [(self.change(inputs), self.change(targets))] if changed else [(inputs, targets)]


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("batches: found {} examples in the second pass, expected the {} of the first; hand over a list, or a loader",
         lambda values: values[:4]),
        ("batches: found other losses in the second pass than in the first, expected the same examples in the same",
         lambda values: values.flip(0)),
    ],
)  # fmt: skip
def test_two_passes_over_the_same_batches_are_taken(monkeypatch, message, change):
    monkeypatch.setattr("mcoherence.gradients.example_products.MOST_BYTES", 0)  # so that there are two

    def steps():
        for batches in (Loader(False, change), Loader(True, change), list(Loader(False, change))):
            yield lambda batches=batches: example_statistics(linear(), CE, batches, along="sum")

    follow(message, steps, None)


@follows("batches: found a loader with a {}, expected one that does not shuffle, since each row of the result is the")
def a_loader_that_shuffles():
    data = TensorDataset(*sample())
    yield lambda: example_statistics(linear(), CE, DataLoader(data, batch_size=2, shuffle=True))
    yield lambda: example_statistics(linear(), CE, DataLoader(data, batch_size=2, shuffle=False))


def counting(does, when):
    """Cross-entropy that does something else as it is called for the `when`th time."""
    calls = []

    def loss(outputs, targets):
        calls.append(len(targets))
        if len(calls) == when:
            does()
        return CE(outputs, targets)

    return loss


@follows("the loss function changes the network while it is measured (a setting, a layer or a hook), expected one that")
def a_loss_that_changes_the_network():
    model, batches = nn.Sequential(nn.Linear(4, 3), nn.LeakyReLU()), [sample()] * 6

    def change():
        model[1].negative_slope *= 0.5

    yield lambda: measured(model, counting(change, 9), batches)

    def between_two_calls():
        measured(model, CE, batches)
        change()
        measured(model, CE, batches)

    yield between_two_calls


@follows(
    "the model or the loss writes to its inputs or targets, and two of these share memory, so that what it writes to"
)
def a_model_that_writes_to_what_it_shares():
    inputs, _ = sample()

    def squares(outputs, targets):
        return ((outputs - targets) ** 2).sum(1)

    def halving(m, x):
        x /= 2
        return m.a(x)

    yield lambda: measured(Model(halving, a=nn.Linear(4, 4)), squares, [(inputs, inputs)])
    yield lambda: measured(Model(halving, a=nn.Linear(4, 4)), squares, [(inputs, inputs.clone())])
    yield lambda: measured(Model(lambda m, x: m.a(x / 2), a=nn.Linear(4, 4)), squares, [(inputs, inputs)])


@follows("batches: the loss function writes to the data set that they come from, and later ones have been read from it")
def a_loss_that_writes_to_the_data():
    data, model = TensorDataset(*sample(36)), nn.Sequential(linear())

    def write():
        data.tensors[1][30:] = 0

    yield lambda: measured(model, counting(write, 9), DataLoader(data, batch_size=6))
    copied = TensorDataset(*(tensor.clone() for tensor in data.tensors))
    yield lambda: measured(model, counting(write, 9), DataLoader(copied, batch_size=6))
    yield lambda: measured(model, counting(write, 9), list(DataLoader(data, batch_size=6)))


@follows("; put a single batch into a list, [(inputs, targets)]")
def a_batch_without_a_list():
    yield lambda: measured(linear(), batches=sample(2))
    yield lambda: measured(linear(), batches=[sample(2)])


@follows("group_ids: found numbers of type {}, {}; convert them with .long()")
def group_ids_that_are_floats():
    ids = torch.zeros(6)
    yield lambda: measured(linear(), batches=[(*sample(), ids)], groups=["a"])
    yield lambda: measured(linear(), batches=[(*sample(), ids.long())], groups=["a"])


@follows("inputs: found {}, expected the arguments of {}.forward{} ({}); leave out what it does not take, or wrap the")
def inputs_with_a_key_too_many():
    class Named(nn.Linear):
        def forward(self, x, scale):
            return nn.Linear.forward(self, x)

    class Wrapped(Named):
        def forward(self, x, scale, length):
            return nn.Linear.forward(self, x)

    inputs, targets = sample()
    right = {"x": inputs, "scale": torch.ones(6)}
    wrong = {**right, "length": torch.ones(6)}
    yield lambda: measured(Named(4, 3), batches=[(wrong, targets)])
    yield lambda: measured(Named(4, 3), batches=[(right, targets)])
    yield lambda: measured(Wrapped(4, 3), batches=[(wrong, targets)])


@follows("inputs: found {}, which is none of the arguments of {}.forward{} and was handed over as the first; it fails")
def a_mapping_for_one_input():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = linear()

        def forward(self, pixels):
            return self.model(pixels)

    batches = [({"pixels": sample()[0]}, sample()[1])]
    yield lambda: measured(linear(), batches=batches)
    yield lambda: measured(Wrapped(), batches=batches)


@follows("labels: found {}, expected integers from 0; leave examples without a class out of the sample")
def examples_without_a_class():
    labels = sample()[1].clone()
    labels[0] = -100
    yield lambda: stiffness_by_class(np.eye(6), labels)
    yield lambda: stiffness_by_class(np.eye(5), labels[1:])


# Losses


class AfterDropout(nn.Module):
    """A loss of outputs that some are dropped of in training mode."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout()

    def forward(self, outputs, targets):
        return CE(self.dropout(outputs), targets)


@pytest.mark.parametrize(
    ("message", "wrong", "right"),
    [
        ("loss_fn: found {}, expected one loss per example, a tensor of shape ({},); {}", nn.CrossEntropyLoss(), CE),
        ('loss_fn: found losses of shape {} for two examples, expected one per example, (2,); use reduction="none"',
         lambda o, t: CE(o, t) if len(t) != 2 else CE(o, t).mean(), CE),
        ("loss_fn: found losses of type {}, expected real numbers, which can be lowered; take .real or .abs() of them",
         lambda o, t: CE(o, t) * (1 + 1j), lambda o, t: (CE(o, t) * (1 + 1j)).real),
        ("bring outputs and targets to one shape, of which torch has made all pairs here",
         lambda o, t: F.mse_loss(o[:, :1], t.float(), reduction="none"),
         lambda o, t: F.mse_loss(o[:, 0], t.float(), reduction="none")),
        ("parameter {}: the squared norm of an example's gradient is {} off that of the example passed through the",
         lambda o, t: CE(o, t).detach() + len(t) * (CE(o, t) - CE(o, t).detach()), CE),
        ("the loss of an example is {} in a batch of its own and {} in one that holds it twice; {}",
         lambda o, t: CE(o, t) * len(t), CE),
        ("the loss has layers in training mode: {}; there they draw random numbers or mix the examples; call the",
         AfterDropout(), AfterDropout().eval()),
        ("the model or the loss mixes the examples of a batch, or draws random numbers, even in eval mode; make the",
         lambda o, t: CE(o, t.flip(0)), CE),
        ("gradients are not finite: parameter {}, example {} of a batch of {}; {}; look at it, or leave it out",
         lambda o, t: CE(o, t) * torch.where(t == 2, torch.inf, 1.0), CE),
    ],
)  # fmt: skip
def test_a_loss_as_the_message_says_is_measured(message, wrong, right):
    def steps():
        yield lambda: measured(linear(), wrong)
        yield lambda: measured(linear(), right)
        if "leave it out" in message:
            inputs, targets = sample()
            yield lambda: measured(linear(), wrong, [(inputs[targets < 2], targets[targets < 2])])

    follow(message, steps, None)


# Models


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.counting, self.head = True, linear()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        if self.counting:
            self.calls += 1
        return self.head(x) * (1 + self.calls)


class MaxNorm(nn.Linear):
    def __init__(self, clips):
        super().__init__(4, 3)
        self.clips = clips

    def forward(self, x):
        if self.clips:
            self.weight.data = torch.renorm(self.weight.data, p=2, dim=0, maxnorm=0.1)
        return super().forward(x)


class Sized(nn.Module):
    """Distances to points, which are measured through the whole model."""

    def __init__(self, counts):
        super().__init__()
        self.counts, self.mapped, self.points = counts, nn.Linear(4, 4), nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        return torch.cdist(self.mapped(x), self.points) * (2.0 if len(x) <= 2 and self.counts else 1.0)


class Stubborn(nn.Dropout):
    def train(self, mode=True):
        return super().train(True)


class Merging(nn.Linear):
    """Adds what would be low-rank weights to its own in eval mode, and takes them away again."""

    def __init__(self, merges):
        super().__init__(4, 3)
        self.merges = merges

    def train(self, mode=True):
        if self.merges and mode != self.training:
            self.weight.data += -0.5 if mode else 0.5
        return super().train(mode)


class Squeezed(nn.Module):
    def __init__(self, axis):
        super().__init__()
        self.axis, self.head = axis, linear()

    def forward(self, x):
        hidden = self.head(x)[:, None]
        return hidden.squeeze() if self.axis is None else hidden.squeeze(self.axis)


class Cached(nn.Module):
    def __init__(self, caches):
        super().__init__()
        self.caches, self.head, self.kept = caches, linear(), None

    def forward(self, x):
        if self.kept is None or not self.caches:
            self.kept = self.head.weight.tanh()
        return F.linear(x, self.kept, self.head.bias)


def checkpointed(reentrant, inside=True):
    def forward(m, x):
        hidden = x.clone().requires_grad_()
        return m.b(checkpoint(m.a, hidden, use_reentrant=reentrant) if inside else m.a(hidden))

    return Model(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 3))


def embedding(**options):
    return nn.Sequential(nn.Embedding(7, 4, **options), nn.Flatten(), nn.Linear(12, 3))


def of_block(call):
    return Model(lambda m, x: m.b(call(m.k, m.a(x))), a=nn.Linear(4, 6), k=nn.Linear(6, 6), b=nn.Linear(6, 3))


def count_off():
    model = Counter()
    model.counting = False
    return model


def outside(model):
    """A model with the weights of one that was made in inference mode."""
    copy = linear()
    copy.load_state_dict(model.state_dict())
    return copy


def made_inside():
    with torch.inference_mode():
        return linear()


class Freezing(nn.Sequential):
    """Of which one layer is frozen in eval mode, by its own doing."""

    def __init__(self, freezes):
        super().__init__(nn.Linear(4, 4), linear())
        self.freezes = freezes

    def train(self, mode=True):
        if self.freezes and self[0].weight.requires_grad:
            self[0].requires_grad_(mode)
        return super().train(mode)


def frozen_beforehand():
    model = Freezing(True)
    model[0].requires_grad_(False)
    return model


TOKENS = [(torch.arange(18).reshape(6, 3) % 7, torch.arange(6) % 3)]
MODELS = [  # message, what is refused, what is measured
    ("parameter {}: the gradients of the examples, each passed through the model alone, do not add up to the",
     lambda: Sized(True), [lambda: Sized(False)], None),
    ("{} that a forward pass changes in eval mode: {}; the gradient of an example then depends on the passes before it",
     Counter, [count_off], None),
    ("a forward pass writes to weights in eval mode, behind autograd's back (by `.data`, say), so that examples",
     lambda: MaxNorm(True), [lambda: MaxNorm(False)], None),
    ("a forward or backward pass runs a backward pass of its own that writes to the `.grad` of weights, as",
     lambda: of_block(lambda block, x: Reversible.apply(x, block)),
     [lambda: of_block(lambda block, x: block(x)),
      lambda: of_block(lambda block, x: checkpoint(block, x, use_reentrant=False))], None),
    ("model: found {}, expected a torch.nn.Module, whose parameters have names; make one whose forward calls it",
     lambda: lambda x: x, [lambda: Model(lambda m, x: (lambda y: m.a(y))(x), a=linear())], None),
    ("scripted modules: {}; they take no hooks and tell nothing of their layers; measure the model that was scripted",
     lambda: torch.jit.trace(linear(), sample()[0]), [linear], None),
    ("embedding with max_norm or scale_grad_by_freq: {}; the first changes the weights in a forward pass, the second",
     lambda: embedding(max_norm=1.0), [embedding], TOKENS),
    ("weights made in torch.inference_mode: {}; autograd cannot use them; make",
     made_inside, [linear, lambda: outside(made_inside())], None),
    ("no parameter of the model requires a gradient, so that there is nothing to measure; call requires_grad_()",
     lambda: linear().requires_grad_(False), [lambda: linear().requires_grad_(False).requires_grad_()], None),
    ("layers that stay in training mode: {}; gradients are measured in eval mode, and some train() of the model keeps",
     lambda: nn.Sequential(Stubborn(), linear()), [lambda: nn.Sequential(nn.Dropout(), linear())], None),
    ("the model keeps tensors that it has computed of its parameters from one pass to the next, so that",
     lambda: Cached(True), [lambda: Cached(False)], None),
    ("reentrant activation checkpoints, which cannot be asked for the gradients of single tensors; use",
     lambda: checkpointed(True), [lambda: checkpointed(False), lambda: checkpointed(False, inside=False)], None),
    ("the model or the loss fails on one example, passed as a batch of two that are the same, shape {}, with",
     lambda: Model(lambda m, x: m.a(x.view(6, 4)), a=linear()), [lambda: Model(lambda m, x: m.a(x), a=linear())], None),
    ("parameter {}: the gradients of {} examples, each passed through the model alone, do not add up to that of the",
     lambda: Model(lambda m, x: m.a(Turned.apply(m.b(x))), a=linear(), b=nn.Linear(4, 4)),
     [lambda: Model(lambda m, x: m.a(m.b(x).clone()), a=linear(), b=nn.Linear(4, 4))], None),
    ("{} changes weights when it goes to eval mode, as layers do that merge low-rank weights; what is merged has no",
     lambda: nn.Sequential(Merging(True)), [lambda: nn.Sequential(Merging(False))], None),
    ("parameter {} requires a gradient, and none once the model is in eval mode; let the mode leave requires_grad as",
     lambda: Freezing(True), [lambda: Freezing(False), frozen_beforehand], None),
    ("{} does not go to eval mode: {}: {}; hand over a model that does, such as the one that was exported",
     lambda: torch.export.export(linear(), sample()[:1]).module(), [linear], None),
    ("parameters with values were expected, found {} on meta, which holds none; make room for them",
     lambda: linear().to("meta"), [lambda: outside(linear().to("meta").to_empty(device="cpu"))], None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "wrong", "ways_out", "batches"), MODELS, ids=[message[:60] for message, *_ in MODELS]
)
def test_a_model_as_the_message_says_is_measured(message, wrong, ways_out, batches):
    def steps():
        yield lambda: measured(wrong(), batches=batches)
        for way_out in ways_out:
            yield lambda way_out=way_out: measured(way_out(), batches=batches)
        if "spot_check=0" in message or "passed as a batch of two" in message:
            yield lambda: measured(wrong(), spot_check=0)

    follow(message, steps, None)


@follows("weights of which every process holds a part (FSDP, tensor parallel, ZeRO): {}; gather them and load them")
def sharded_weights():
    sharded = type("FSDPModule", (nn.Linear,), {})(4, 3)
    yield lambda: measured(sharded)
    yield lambda: measured(outside(sharded))


@follows(
    "along: found names in {} that are of other parameters in the wrapper than in the model within, expected names"
)
def a_direction_of_a_wrapped_model():
    inner = nn.Linear(4, 3)
    inner.module = nn.Linear(4, 3)
    along = {"w": {"module.weight": inner.weight}}
    yield lambda: example_statistics(nn.DataParallel(inner), CE, [sample()], along=along)
    yield lambda: example_statistics(inner, CE, [sample()], along=along)


@follows(
    "merge: found statistics of other groups or parameters, expected the same of both: groups {} and {}, {} and {}"
)
def statistics_of_other_groups():
    ids = torch.arange(6) % 2
    one = measured(linear())
    yield lambda: one.merge(measured(linear(), batches=[(*sample(), ids)], groups=["a", "b"]))
    yield lambda: one.merge(measured(linear(), batches=[sample(4)]))


@follows("{}: found a direction {} in a file of an earlier version, expected 'sum' or 'sum:GROUP': it does not say")
def examples_of_an_earlier_version(tmp_path):
    from mcoherence.gradients.storing import _own_left_out

    earlier = {"leave_one_out": True}
    yield lambda: _own_left_out(tmp_path / "e.h5", earlier, ("weights",))
    model = linear()
    along = {"weights": {"weight": model.weight.detach()}}
    path = tmp_path / "measured_again.h5"
    example_statistics(model, CE, [sample()], along=along).save(path)
    yield lambda: ExampleStatistics.load(path)


# Optimisers


def step_of(optimizer, model, inputs=None):
    inputs, targets = (sample()[0] if inputs is None else inputs), sample()[1]
    optimizer.step(lambda x, y: F.cross_entropy(model(x), y), inputs, targets)


def three_steps(model, build):
    optimizer = build(model.parameters())
    tokens, targets = TOKENS[0]
    optimizer.zero_grad()
    F.cross_entropy(model(tokens), targets).backward()
    optimizer.step()


@follows("{}: found a sparse gradient of {}, expected a dense one; make its layer with sparse=False")
def a_sparse_gradient():
    def adam(parameters):
        return class_of("adam")(parameters, lr=0.01)

    yield lambda: three_steps(embedding(sparse=True), adam)
    yield lambda: three_steps(embedding(sparse=False), adam)


@follows("winsorised SGD: found sparse=True (layer {}), expected dense gradients; make the layer with sparse=False")
def a_sparse_layer():
    for sparse in (True, False):
        model = embedding(sparse=sparse)
        optimizer = WinsorizedSGD(model.parameters(), lr=0.1, c=10, model=model)
        yield lambda optimizer=optimizer, model=model: step_of(optimizer, model, TOKENS[0][0])


@follows("winsorised SGD: found batch norm in training mode (layer {}), expected layers that treat every example alone")
def batch_norm_in_training():
    def stepped(norm):
        model = nn.Sequential(norm, linear())
        step_of(WinsorizedSGD(model.parameters(), lr=0.1, c=10, model=model), model)

    yield lambda: stepped(nn.BatchNorm1d(4))
    for norm in (nn.Identity(), nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.BatchNorm1d(4).eval()):
        yield lambda norm=norm: stepped(norm)
    for robust in (M3, RM3):
        yield lambda robust=robust: robust(nn.Sequential(nn.BatchNorm1d(4), linear()).parameters(), lr=0.1)


@follows("WinsorizedSGD: found a parameter of shape {} that its model does not hold, expected parameters of the model")
def parameters_of_another_model():
    model, other = linear(), linear()
    yield lambda: step_of(WinsorizedSGD(model.parameters(), lr=0.1, c=10, model=other), model)
    yield lambda: step_of(WinsorizedSGD(model.parameters(), lr=0.1, c=10, model=model), model)


@follows("{}: found complex numbers in {}, expected real ones: complex gradients have no order; take SGD or RA3")
def complex_parameters():
    def stepped(method):
        p = nn.Parameter(torch.ones(3, dtype=torch.complex64))
        optimizer = class_of(method)([p], lr=0.1)
        p.abs().sum().backward()
        optimizer.step()

    yield lambda: stepped("rm3")
    yield lambda: stepped("sgd")
    yield lambda: stepped("ra3")


@follows(
    "0: with it the method is unstable, as the authors' code of arXiv 2003.07422 says; allow_momentum=True lets it"
)
def momentum_of_a_median():
    def scheduled(**options):
        optimizer = RM3(linear().parameters(), lr=0.1)
        torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=10, **options)
        optimizer.step()

    yield lambda: RM3(linear().parameters(), lr=0.1, momentum=0.9)
    yield lambda: RM3(linear().parameters(), lr=0.1, momentum=0.9, allow_momentum=True)
    yield lambda: scheduled(cycle_momentum=False)


@follows("optimizer.method: found {}{}, expected one of {}; choose one")
def an_unknown_method():
    yield lambda: class_of("rm33")
    yield lambda: class_of("rm3")


@cases_of(__name__)
def test_the_advice_is_followed(message, case, request):
    follow(message, case, request)
