"""Memory of a pass, against what autograd says that it keeps, peaks of an H200, and allocations on the processor."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mcoherence.models.build import construct, outline
from mcoherence.models.memory import example_bytes, peak_bytes
from mcoherence.study.data_sizes import Size
from mcoherence.study.estimates import ABOUT

LARGE = Size(1, 1, (3, 224, 224), 1000)
SMALL = Size(1, 1, (3, 32, 32), 10)
CNN = {"architecture": "cnn", "channels": [12, 24], "hidden": 128}
NETWORKS = [
    ({"architecture": "resnet18"}, LARGE),
    ({"architecture": "resnet50"}, LARGE),
    ({"architecture": "vgg13_bn"}, LARGE),
    ({"architecture": "efficientnet_b0"}, LARGE),
    ({"architecture": "mobilenet_v2"}, LARGE),
    ({"architecture": "inception_v3"}, Size(1, 1, (3, 299, 299), 1000)),
    ({"architecture": "resnet18"}, SMALL),
    ({"architecture": "vgg13_bn"}, SMALL),
    ({"architecture": "mlp", "hidden": [256, 256, 256]}, SMALL),
    (CNN, SMALL),
    (CNN | {"batch_norm": False}, SMALL),
]


def kept_by_autograd(settings, size, examples, build=outline):
    """Bytes of the distinct storages that a forward pass saves for the backward pass, parameters and buffers not."""
    model = build(settings, size.shape, size.classes).train()
    device = next(model.parameters()).device
    known = {one.untyped_storage()._cdata for one in (*model.parameters(), *model.buffers())}
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            saved[storage._cdata] = storage  # kept, so that no other one gets its place
        return tensor

    images = torch.zeros(examples, *size.shape, device=device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        F.cross_entropy(model(images), torch.zeros(examples, dtype=torch.int64, device=device))
    return sum(storage.nbytes() for storage in saved.values())


@pytest.mark.parametrize(("settings", "size"), NETWORKS)
def test_training_takes_what_autograd_keeps_weights_and_their_gradients(settings, size):
    weights = 2 * 4 * sum(p.numel() for p in outline(settings, size.shape, size.classes).parameters())
    kept = kept_by_autograd(settings, size, 64)
    counted = 64 * example_bytes(settings, size.shape, size.classes, "train")
    assert weights + counted == pytest.approx(weights + kept, rel=0.2)
    about = 64 * ABOUT.example(settings, size, "train", "float32")
    assert weights + about == pytest.approx(weights + kept, rel=0.2)


def test_attention_takes_what_kernels_of_the_processor_keep_and_not_what_the_meta_device_would():
    settings = {"architecture": "vit_b_16"}
    two, four = (kept_by_autograd(settings, LARGE, examples, construct) for examples in (2, 4))
    kept = (four - two) / 2
    assert example_bytes(settings, LARGE.shape, LARGE.classes, "train") == pytest.approx(kept, rel=0.2)
    assert ABOUT.example(settings, LARGE, "train", "float32") == pytest.approx(kept, rel=0.2)


MIB = 2**20
MEASURED = [  # peaks of an H200 (benchmarks/RESULTS.md), weights and gradients and groups of examples apart
    ("resnet50", "train", torch.bfloat16, 192, 8042 - 2.5 * 97),
    ("resnet50", "train", torch.bfloat16, 64, 2849 - 4.5 * 97),
    ("resnet50", "measure", torch.float32, 128, 11045 - 3 * 97),
    ("vit_b_16", "measure", torch.float32, 128, 16525 - 3 * 330),
]


@pytest.mark.parametrize(("architecture", "way", "dtype", "examples", "mib"), MEASURED)
def test_passes_on_a_gpu_took_as_much(architecture, way, dtype, examples, mib):
    counted = examples * example_bytes({"architecture": architecture}, (3, 224, 224), 1000, way, dtype)
    assert counted / MIB == pytest.approx(mib, rel=0.2)


ALLOCATED = [(CNN, SMALL, 64), ({"architecture": "vit_b_16"}, LARGE, 6)]  # so many that gradients weigh little


@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize(("settings", "size", "examples"), ALLOCATED, ids=["cnn", "vit"])
def test_a_pass_on_the_processor_allocates_as_much(settings, size, examples, backward):
    torch.manual_seed(0)
    model = construct(settings, size.shape, size.classes).train(backward)
    images, labels = torch.zeros(examples, *size.shape), torch.zeros(examples, dtype=torch.int64)

    def run():
        with torch.set_grad_enabled(backward):
            loss = F.cross_entropy(model(images), labels)
            if backward:
                torch.autograd.grad(loss, list(model.parameters()))

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    now = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    assert peak_bytes(run, (*model.parameters(), *model.buffers(), images, labels)) == pytest.approx(most, rel=0.2)
    way = "train" if backward else "evaluate"
    own = images.nbytes if backward else images.nbytes + labels.nbytes
    counted = examples * example_bytes(settings, size.shape, size.classes, way)
    assert counted == pytest.approx(most + own, rel=0.2)


def test_float64_takes_twice_as_much_but_for_indices():
    one, two = (example_bytes(CNN, (3, 32, 32), 10, "measure", dtype) for dtype in (torch.float32, torch.float64))
    indices = 8 * (12 * 16 * 16 + 24 * 8 * 8)  # of two max poolings, int64
    assert two - indices == pytest.approx(2 * (one - indices), rel=0.05)


def test_a_storage_counts_once_and_only_while_it_lives():
    def run():
        first = torch.ones(1000)  # 4,000 bytes
        view = first[:10]
        del first
        torch.ones(500)  # 2,000 more, at once let go
        del view
        torch.ones(1200)  # 4,800 alone

    assert peak_bytes(run) == 6000
