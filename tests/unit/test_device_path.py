"""What runs on a GPU, on a pretended one: the numbers of the processor, devices never mixed, and few waits for it.

A wait is a value read, or a copy that torch waits for: until then the program can ask the GPU for no more.
"""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from mcoherence import CoherenceMonitor, GradientStatistics, example_statistics, gradient_statistics
from mcoherence.data.augmentation import augmented
from mcoherence.data.loading import image_loader
from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import Source, SourcePart
from mcoherence.device import sent
from mcoherence.gradients.batch import fallback
from mcoherence.gradients.batch_norm import with_sample_statistics
from mcoherence.gradients.gram import example_gram
from mcoherence.gradients.layer_rules import convolution
from mcoherence.gradients.layer_rules.lookup import RULES
from mcoherence.gradients.minibatches import minibatch_statistics
from mcoherence.gradients.sweep import small_batches
from mcoherence.measuring.along_run import measure_run
from mcoherence.measuring.confusion import mini_batch_gram
from mcoherence.measuring.evaluation import evaluate_run
from mcoherence.measuring.job import MeasuringJob
from mcoherence.measuring.measurement import Measurement, Minibatches
from mcoherence.measuring.samples import DrawnExamples, Sample
from mcoherence.models import NetworkSettings, build_model, save_checkpoint
from mcoherence.optim.methods import METHODS
from mcoherence.training.loop import train
from mcoherence.training.settings import Execution, TrainingSettings
from tests.unit.gradients.model_of_function import Model
from tests.unit.pretended_gpu import CPU, GPU, MixedDevicesError, on_gpu, pretended_gpu, values

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")
CLASSES = 4


@pytest.fixture
def gpu(monkeypatch):
    with pretended_gpu(monkeypatch) as counted:
        yield counted


# --- the pretended GPU ------------------------------------------------------------------------------------------------


def test_what_waits_for_the_gpu_is_counted(gpu):
    x = torch.arange(6.0).reshape(2, 3).to(GPU)
    assert (x.device, gpu.to_gpu) == (GPU, [6])
    assert (float(x.sum()), bool((x > 4).any()), x[0].tolist(), torch.equal(x, x)) == (3 * 5.0, True, [0, 1, 2], True)
    assert gpu.reads == Counter(_local_scalar_dense=2, tolist=1, equal=1)
    assert x[x > 2].cpu().tolist() == [3.0, 4.0, 5.0]  # how many they are has to be known first
    assert (gpu.reads["index"], gpu.to_processor) == (1, [3])
    assert gpu.waits == 5 + 1 + 1
    sent(torch.zeros(2), GPU)
    assert (gpu.waits, gpu.sent) == (7, [2])
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        x.numpy()


def test_tensors_of_both_devices_are_not_mixed(gpu):
    x = torch.ones(2, 2, device=GPU)
    for mixed in (lambda: x + torch.ones(2), lambda: F.linear(torch.ones(2, 2), x), lambda: x[torch.tensor([0])]):
        with pytest.raises(MixedDevicesError, match=r"on cuda:0, .* on cpu|on cpu, .* on cuda:0"):
            mixed()
    assert (x + torch.tensor(1.0)).tolist() == [[2.0, 2.0], [2.0, 2.0]]  # a number is no matter


def test_gradients_are_those_of_the_processor(gpu):
    weight = torch.randn(3, 3, requires_grad=True)
    (expected,) = torch.autograd.grad((weight @ weight).tanh().sum(), weight)
    there = weight.detach().to(GPU).requires_grad_()
    (found,) = torch.autograd.grad((there @ there).tanh().sum(), there)
    assert (found.device, torch.equal(found.cpu(), expected)) == (GPU, True)


# --- the engine -------------------------------------------------------------------------------------------------------


class Scale(nn.Module):
    """A layer that has no rule."""

    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.randn(width))

    def forward(self, x):
        return (x * self.gain).sin() + self.gain.square()


class Limit(nn.Module):
    """A layer whose operation nothing knows, so that it runs again for each example."""

    def __init__(self, width):
        super().__init__()
        self.limit = nn.Parameter(torch.randn(width))

    def forward(self, x):
        return torch.minimum(x, self.limit)


def bare(*shape):
    return nn.Parameter(torch.randn(*shape))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.Conv2d(3, 4, 3, stride=2, bias=False),
        nn.BatchNorm2d(4, affine=False), nn.Tanh(), nn.Conv2d(4, 4, 2, groups=2, padding="same", dilation=2),
        nn.InstanceNorm2d(4, affine=True), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(36, CLASSES),
    )  # fmt: skip


def one_and_three_axes():
    return nn.Sequential(
        nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.InstanceNorm3d(2, affine=True), nn.Flatten(2),
        nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), nn.BatchNorm1d(3), nn.InstanceNorm1d(3, affine=True),
        nn.Flatten(), nn.Linear(3 * 36, CLASSES),
    )  # fmt: skip


def norms():
    return nn.Sequential(
        nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.RMSNorm(8), nn.GroupNorm(2, 8), nn.Linear(8, CLASSES)
    )


def language():
    layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.1, batch_first=True)
    return Model(
        lambda m, x: m.head(m.encoder(m.embed(x) + m.position).mean(1)),
        embed=nn.Embedding(7, 8, padding_idx=2), position=bare(1, 5, 8), head=nn.Linear(8, CLASSES),
        encoder=nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
    )  # fmt: skip


def cross_attention():
    return Model(
        lambda m, x: m.head(m.attention(x, x.sin(), x)[0].mean(1)),
        attention=nn.MultiheadAttention(8, 2, batch_first=True), head=nn.Linear(8, CLASSES),
    )  # fmt: skip


def used_twice():
    shared = nn.Linear(6, 6)
    return nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(6, CLASSES))


def tied():
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, CLASSES))
    model[2].weight = model[0].weight
    return model


def chosen_rows():
    """Rows that an index chooses: whether they are the examples' own is settled by a second pass back."""
    return Model(
        lambda m, x: m.last(m.first(x).tanh()[torch.arange(len(x), device=x.device)]),
        first=nn.Linear(6, 6), last=nn.Linear(6, CLASSES),
    )  # fmt: skip


def masked():
    """By a call that might mix the examples, and does not: the losses of all of them are looked at."""
    return Model(
        lambda m, x: m.last(m.first(x).tanh() * (x.roll(1, 1) > 0)), first=nn.Linear(6, 6), last=nn.Linear(6, CLASSES)
    )


def recurrent():
    return Model(
        lambda m, x: m.head(m.lstm(x)[0][:, -1]), lstm=nn.LSTM(4, 4, batch_first=True), head=nn.Linear(4, CLASSES)
    )


def dead():
    """A layer of which no example has a gradient."""
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, CLASSES))
    nn.init.constant_(model[0].bias, -100.0)
    return model


# name -> network, shape of an example (None: tokens), waits of a batch for sums, and for products besides, at most
NETWORKS = {
    "linear": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES, bias=False)), (6,), 1, 0),
    "convolutions": (convolutions, (2, 8, 8), 1, 0),
    "convolutions of one and three axes": (one_and_three_axes, (1, 3, 3, 4), 1, 0),
    "norms": (norms, (6,), 1, 0),
    "embedding, attention, a bare parameter": (language, None, 1, 0),
    "a layer without a rule": (lambda: nn.Sequential(nn.Linear(6, 6), Scale(6), nn.Linear(6, CLASSES)), (6,), 1, 0),
    "a layer that runs again": (lambda: nn.Sequential(nn.Linear(6, 6), Limit(6), nn.Linear(6, CLASSES)), (6,), 1, 0),
    "masked": (masked, (6,), 1, 0),
    "a dead layer": (dead, (6,), 1, 0),
    "rows chosen by an index": (chosen_rows, (6,), 2, 0),
    "used twice": (used_twice, (6,), 1, 0),
    "tied": (tied, (6,), 1, 0),
    "recurrent": (recurrent, (3, 4), 2, 0),  # the second in the first batches alone
    # A parameter that goes through the whole model: a pass of its own, and a read for each pass.
    "cross-attention": (cross_attention, (5, 8), 2, 1),
}


def network(name):
    torch.manual_seed(0)
    model = NETWORKS[name][0]().double()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    return model


def batches(name, count, n=6):
    """(inputs, targets, group ids) of n examples each."""
    shape, generator = NETWORKS[name][1], torch.Generator().manual_seed(1)
    found = []
    for _ in range(count):
        if shape is None:
            inputs = torch.randint(0, 7, (n, 5), generator=generator)
        else:
            inputs = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
        found.append((inputs, torch.randint(0, CLASSES, (n,), generator=generator), torch.arange(n) % 2))
    return found


def sums(model, given, **settings):
    return gradient_statistics(model, PER_EXAMPLE, [batch[:2] for batch in given], **settings)


def products(model, given):
    directions = {"sum": "sum", "weights": {name: p.detach() for name, p in model.named_parameters()}}
    return example_statistics(model, PER_EXAMPLE, [batch[:2] for batch in given], directions)


# Of which it is not known from the graph whose the rows are, or whether examples have met.
IN_DOUBT = ("rows chosen by an index", "masked")


def per_batch(gpu, work, model, name, n=6):
    """(waits of a batch, waits of the rest of a call, operations of a batch, what came of two batches)."""
    waits, operations, found = {}, {}, {}
    for count in (1, 2, 3):
        given = on_gpu(batches(name, count, n))
        gpu.forget()
        found[count] = work(model, given)
        waits[count], operations[count] = gpu.waits, Counter(gpu.operations)
    # Of the second batch in doubt more is looked at. Others go together from the second on.
    last = 3 if name in IN_DOUBT else 2
    of_batch = waits[last] - waits[last - 1]
    return of_batch, waits[2] - 2 * of_batch, operations[last] - operations[last - 1], found[2]


def same_sums(found, expected):
    scale = expected.sum_sq_norms.sum()
    assert found.sum_sq_norms == pytest.approx(expected.sum_sq_norms, rel=1e-12, abs=1e-14 * scale)
    assert found.gram == pytest.approx(expected.gram, rel=1e-10, abs=1e-12 * scale)
    assert found.evidence.by_whole_model == expected.evidence.by_whole_model


def test_every_rule_is_tried():
    seen = {type(module) for name in NETWORKS for module in network(name).modules()}
    assert set(RULES) <= seen


@pytest.mark.parametrize("name", NETWORKS)
def test_sums_take_one_wait_a_batch_and_few_a_call(gpu, name):
    expected = sums(network(name), batches(name, 2))
    of_batch, of_call, _, found = per_batch(gpu, sums, on_gpu(network(name)), name)
    gpu.forget()
    assert found.gram.shape == (1, 1, len(found.parameters))
    assert (gpu.reads, len(gpu.to_processor)) == (Counter(), 1)  # all products at once
    same_sums(found, expected)
    assert found.evidence.spot_examples == (2 if name in IN_DOUBT else 1)
    assert all(one.device == GPU for one in found.group_sums)
    assert 1 <= of_batch <= NETWORKS[name][2] + 1  # the losses of one that waited for others
    # Two fingerprints, buffers, the spot check, Q and |S|^2; and looks at all examples of both batches.
    assert of_call <= (15 if name in IN_DOUBT else 13)


@pytest.mark.parametrize(
    "name", [name for name in NETWORKS if name != "recurrent"]
)  # which torch itself cannot vectorise
def test_operations_do_not_grow_with_the_number_of_examples(gpu, name):
    model = on_gpu(network(name))
    few, many = (per_batch(gpu, partial(sums, spot_check=0), model, name, n)[2] for n in (3, 6))
    assert few == many


@pytest.mark.parametrize("name", NETWORKS)
def test_norms_and_products_of_examples_take_hardly_more_waits(gpu, name):
    expected = products(network(name), batches(name, 2))
    of_batch, of_call, _, found = per_batch(gpu, products, on_gpu(network(name)), name)
    scale = np.abs(expected.products).max()
    assert found.sq_norms == pytest.approx(expected.sq_norms, rel=1e-12, abs=1e-14 * expected.sq_norms.max())
    assert found.products == pytest.approx(expected.products, rel=1e-9, abs=1e-12 * scale)
    assert found.losses == pytest.approx(expected.losses, rel=1e-12)
    assert 1 <= of_batch <= NETWORKS[name][2] + NETWORKS[name][3] + 1
    assert of_call <= 25


def test_groups_mixed_in_a_batch_are_told_apart_without_waiting(gpu):
    def mixed(model, given):
        return gradient_statistics(model, PER_EXAMPLE, given, groups=["a", "b"])

    expected = mixed(network("convolutions"), batches("convolutions", 4))
    model = on_gpu(network("convolutions"))
    given = [(*on_gpu(batch[:2]), batch[2]) for batch in batches("convolutions", 4)]
    gpu.forget()
    found = mixed(model, given)
    same_sums(found, expected)
    assert gpu.waits <= 4 + 13 + 3  # a batch of one group each, and the losses of another size, and of those joined


def test_batches_that_lie_on_the_processor_are_sent_without_waiting(gpu, monkeypatch):
    monkeypatch.setattr(small_batches, "MOST_NUMBERS", 0)  # a pass for each
    waits, model = {}, on_gpu(network("convolutions"))
    for count in (2, 3):
        gpu.forget()
        found = sums(model, batches("convolutions", count))
        waits[count] = gpu.waits
    same_sums(found, sums(network("convolutions"), batches("convolutions", 3)))
    assert waits[3] - waits[2] == 1


def test_batches_that_go_together_wait_as_long_as_fewer_of_them(gpu):
    waits, model = {}, on_gpu(network("convolutions"))
    for count in (3, 6):
        given = on_gpu(batches("convolutions", count))
        gpu.forget()
        found = sums(model, given)
        waits[count] = gpu.waits
    same_sums(found, sums(network("convolutions"), batches("convolutions", 6)))
    assert waits[6] == waits[3]


def test_a_monitor_measures_there_what_it_does_on_the_processor(gpu):
    def measured(model, given):
        monitor = CoherenceMonitor(model, PER_EXAMPLE, [batch[:2] for batch in given], every=1)
        monitor(0)
        gpu.forget()
        monitor(1)
        return monitor.history["m_coherence"].tolist(), gpu.waits

    expected, _ = measured(network("convolutions"), batches("convolutions", 2))
    found, waits = measured(on_gpu(network("convolutions")), on_gpu(batches("convolutions", 2)))
    assert found == pytest.approx(expected, rel=1e-12)
    assert waits <= 2 + 6  # two batches, and what is asked once a measurement


def test_squares_that_are_too_small_are_measured_in_float64_there_too(gpu):
    """Gradients of 1e-25 have squares that float32 does not hold."""

    def tiny(outputs, targets):
        return 1e-25 * PER_EXAMPLE(outputs, targets)

    given = [(inputs.float(), targets) for inputs, targets, _ in batches("convolutions", 2)]
    expected = gradient_statistics(network("convolutions").float(), tiny, given)
    found = gradient_statistics(on_gpu(network("convolutions").float()), tiny, on_gpu(given))
    assert expected.sum_sq_norm() > 0.0
    assert found.sum_sq_norm("parameter") == pytest.approx(expected.sum_sq_norm("parameter"), rel=1e-5)


def test_a_network_that_no_vmap_takes_is_measured_there_example_by_example(gpu):
    def forward(m, x):
        return m.head(torch.cdist(x, m.first.weight) if bool(x.isfinite().all()) else x)

    def build():
        torch.manual_seed(0)
        return Model(forward, first=nn.Linear(6, 6, bias=False), head=nn.Linear(6, CLASSES)).double()

    expected = sums(build(), batches("linear", 2))
    same_sums(sums(on_gpu(build()), on_gpu(batches("linear", 2))), expected)
    assert expected.evidence.by_whole_model == ("first.weight",)


def test_sums_come_to_the_processor_to_be_saved(gpu, tmp_path):
    found = sums(on_gpu(network("convolutions")), on_gpu(batches("convolutions", 2)))
    gpu.forget()
    found.save(tmp_path / "sums.h5")
    assert gpu.to_processor == [one.numel() for one in found.group_sums]
    read = GradientStatistics.load(tmp_path / "sums.h5")
    both, twice = found.merge(read), read.merge(found)
    assert both.sum_sq_norm() == twice.sum_sq_norm() == 2 * found.sum_sq_norm()
    assert [one.device for one in (both.group_sums[0], twice.group_sums[0])] == [GPU, CPU]


def test_other_statistics_of_batch_norm_and_products_of_pairs(gpu):
    def measured(model, given):
        pairs = [batch[:2] for batch in given]
        sample = with_sample_statistics(model, pairs)
        halves = [(inputs, targets, index % 2) for index, (inputs, targets) in enumerate([*pairs, *pairs])]
        return (
            sums(sample, given).sum_sq_norms,
            minibatch_statistics(model, PER_EXAMPLE, halves, ["a", "b"]).gram,
            example_gram(model, PER_EXAMPLE, pairs).products,
            mini_batch_gram(model, pairs),
        )

    expected = measured(network("convolutions"), batches("convolutions", 2))
    found = measured(on_gpu(network("convolutions")), on_gpu(batches("convolutions", 2)))
    for mine, other in zip(found, expected, strict=True):
        assert mine == pytest.approx(other, rel=1e-9, abs=1e-12 * np.abs(other).max())


def test_mini_batches_are_not_waited_for(gpu):
    def waits(count):
        model, given = on_gpu(network("convolutions")), on_gpu(batches("convolutions", count))
        gpu.forget()
        minibatch_statistics(model, PER_EXAMPLE, [(*batch[:2], 0) for batch in given], ["all"])
        return gpu.waits

    assert waits(4) == waits(2) <= 2


def test_a_call_of_the_library_for_a_few_examples_is_for_the_processor_alone(gpu):
    layer, inputs = nn.Conv2d(64, 64, 3, padding=1), torch.zeros(2, 64, 16, 16)
    assert convolution.prefers_kernel_rows(layer, inputs, inputs.shape)
    assert not convolution.prefers_kernel_rows(layer, inputs.to(GPU), inputs.shape)


def test_rows_through_the_whole_model_come_in_larger_chunks_there(gpu):
    weight = torch.zeros(2**20)
    assert [len(fallback._chunks(256, {"weight": one})) for one in (weight, weight.to(GPU))] == [16, 2]


def test_ways_of_a_convolution_cost_what_the_device_takes(gpu):
    assert convolution.costs_on(CPU) == convolution.ON_PROCESSOR
    assert convolution.costs_on(GPU) == convolution.ON_GPU
    shapes = torch.Size([256, 256, 14, 14]), torch.Size([256, 256, 14, 14])  # stage 3 of a ResNet, of 256 examples
    layer = nn.Conv2d(256, 256, 3, padding=1)
    costs = convolution._costs(layer, *shapes, convolution.ON_GPU)
    assert min(costs, key=costs.get) == "shifted"
    few = convolution._costs(layer, torch.Size([1, 256, 14, 14]), torch.Size([1, 256, 14, 14]), convolution.ON_GPU)
    assert few["shifted"] - costs["shifted"] == pytest.approx(9 * convolution.ON_GPU.call * (1 - 1 / 256))


# --- images -----------------------------------------------------------------------------------------------------------

SIZE, SHAPE = 24, (1, 4, 4)
BYTES = SIZE * 16
PLACES = {"inputs": 8 * BYTES, "pixels": 4 * BYTES - 1, "streamed": BYTES - 1}
AUGMENT = partial(augmented, settings={"crop_scale": [0.2, 1.0], "crop_ratio": [0.75, 1.4], "flip": 0.5}, seed=3)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    generator = np.random.default_rng(0)
    parts = [
        SourcePart(generator.integers(0, 256, (size, *SHAPE), dtype=np.uint8), np.arange(size) % 3)
        for size in (SIZE, 9)
    ]
    file = tmp_path_factory.mktemp("data") / "images.h5"
    prepare_images(file, Source(*parts, SHAPE, tuple("abc")), {})
    return file


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
@pytest.mark.parametrize("place", PLACES)
def test_batches_of_images_are_the_same_there_and_sent_without_waiting(gpu, images, place):
    def loader(device):
        options = {"memory_bytes": PLACES[place], "workers": 0, "augment": AUGMENT}
        return image_loader(images, np.arange(SIZE)[::-1].copy(), device, **options)

    schedule = [(draw, np.random.default_rng(draw).permutation(SIZE)[:10]) for draw in range(3)]
    expected = list(loader(CPU).batches(schedule))
    there = loader(GPU)
    gpu.forget()
    found = list(there.batches(schedule))
    assert all(one.device == GPU for one in found)
    assert gpu.waits == 0
    assert all(map(torch.equal, values(found), expected))


# --- training ---------------------------------------------------------------------------------------------------------


class Examples:
    """Labelled images of three classes in memory, on a device."""

    num_classes = 3
    input_shape = (1, 2, 2)

    def __init__(self, device):
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(20, 1, 2, 2, generator=generator).to(device)
        self.labels = torch.randint(0, 3, (20,), generator=generator).to(device)

    def __len__(self):
        return 20

    def batches(self, schedule):
        for _, positions in schedule:
            index = sent(torch.from_numpy(positions), self.labels.device)
            yield self.inputs.index_select(0, index), self.labels.index_select(0, index)


def trained(method, device, updates):
    """The weights before and after so many updates, and the log."""
    optimizer = {"method": method, "lr": 0.1} | ({"c": 20} if method == "winsorized" else {})
    entry, saved = METHODS[method], []
    update = entry.mini_batches(optimizer), entry.groups(optimizer)
    network = {"architecture": "mlp", "hidden": [5]}
    settings = TrainingSettings(network, optimizer, *update, 8, "float32", False, 0, updates, (0, updates), 1)

    def save(step, epoch, model, diverged_at):
        saved.append({name: value.clone() for name, value in model.state_dict().items()})

    log, _ = train(settings, Examples(device), Execution(device), save)
    return saved, log


# Of two groups' gradients whether they agree decides whether there is a step at all.
WAITS_OF_UPDATE = {"gradient_agreement": 1}


@pytest.mark.parametrize("method", METHODS)
def test_training_ends_in_the_same_weights_there_and_no_update_is_waited_for(gpu, method):
    expected, log = trained(method, CPU, 7)
    waits = {}
    for updates in (4, 7):
        gpu.forget()
        found, found_log = trained(method, GPU, updates)
        waits[updates] = gpu.waits
    assert np.array_equal(found_log.loss, log.loss) or method == "winsorized"
    exact = {"rtol": 1e-5, "atol": 1e-6} if method == "winsorized" else {"rtol": 0.0, "atol": 0.0}  # in another order
    for mine, other in zip(values(found), expected, strict=True):
        for name, value in other.items():
            torch.testing.assert_close(mine[name], value, **exact)
    assert not any(map(torch.equal, expected[0].values(), expected[1].values()))
    assert waits[7] - waits[4] == 3 * WAITS_OF_UPDATE.get(method, 0)


# --- along a run ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    settings = {"architecture": "mlp", "hidden": [5]}
    paths = []
    for step in range(2):
        torch.manual_seed(step)
        model = build_model(settings, SHAPE, 3)
        paths.append(tmp_path_factory.mktemp("run") / f"step{step}.safetensors")
        save_checkpoint(paths[-1], model, NetworkSettings(settings, SHAPE, 3), {"step": step, "epoch": 0.0, "run": {}})
    return paths


def test_a_run_is_evaluated_there(gpu, images, checkpoints):
    labels = {"train": np.arange(SIZE) % 3, "test": np.arange(9) % 3}
    expected, _ = evaluate_run(MeasuringJob(images, checkpoints, CPU), labels)
    found, _ = evaluate_run(MeasuringJob(images, checkpoints, GPU), labels)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert len(gpu.to_processor) == 2 * 2 * 2  # losses and predictions, of each part and checkpoint
    assert not gpu.reads


def test_a_run_is_measured_there_and_its_sums_stay(gpu, images, checkpoints):
    drawn = [
        DrawnExamples("train", Sample(np.arange(SIZE), np.arange(SIZE) % 2), np.arange(SIZE) % 3),
        DrawnExamples("test", Sample(np.arange(9), np.full(9, 2)), np.arange(9) % 3),
    ]
    groups = ("pristine", "corrupt", "heldout")
    for by in (
        Measurement("coherence", drawn, groups, "float64", tf32=False),
        Measurement(
            "coherence", drawn, groups, "float64", tf32=False, batch_norm="minibatch",
            minibatches=Minibatches(4, [np.arange(SIZE) // 4, np.arange(9) // 4 % 2]),
        ),
    ):  # fmt: skip
        expected, _ = measure_run(MeasuringJob(images, checkpoints, CPU), by)
        gpu.forget()
        found, _ = measure_run(MeasuringJob(images, checkpoints, GPU), by)
        for name in ("sum_sq_norm", "gram", "m_coherence_model"):
            assert found[name] == pytest.approx(expected[name], rel=1e-12), name
        largest = max(gpu.to_processor)
        assert largest < 5 * SHAPE[1] * SHAPE[2] * 3  # S of the first layer alone has so many numbers
