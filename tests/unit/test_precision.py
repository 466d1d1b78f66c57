"""What float32 means: on matrix units it is float32's own products, unless TF32 is asked for."""

import numpy as np
import pytest
import torch
from torch import nn

from mcoherence import gradient_statistics
from mcoherence.gradients.reference import per_example_gradients
from mcoherence.precision import IEEE, TF32, float32_products, precision_name


@pytest.fixture(autouse=True)
def torch_as_found():
    """Torch's settings of precision as it has them at the start, whatever a test has mixed."""
    yield
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for unit in (torch.backends.mkldnn.conv, torch.backends.mkldnn.rnn):
        unit.fp32_precision = "none"


def on_gpu():
    """What torch would do on a GPU: matrix products, convolutions, recurrent layers."""
    backends = torch.backends
    units = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    return [IEEE if unit.fp32_precision == "none" else unit.fp32_precision for unit in units]


def on_processor():
    units = (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv, torch.backends.mkldnn.rnn)
    return [IEEE if unit.fp32_precision == "none" else unit.fp32_precision for unit in units]


def leave_as_it_is():
    """Torch's default: convolutions and recurrent layers in TF32."""


def ask_for_high():
    torch.set_float32_matmul_precision("high")


def ask_for_medium():
    torch.set_float32_matmul_precision("medium")


def switch_convolutions_off():
    torch.backends.cudnn.allow_tf32 = False


def set_single_units():
    """By torch's newer names, after which the older ones cannot be asked any more."""
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.mkldnn.conv.fp32_precision = "bf16"


def set_everything():
    torch.backends.fp32_precision = "tf32"


WAYS = [leave_as_it_is, ask_for_high, ask_for_medium, switch_convolutions_off, set_single_units, set_everything]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tf32", [False, True])
def test_float32_is_float32_or_tf32_whatever_the_process_asked_for(way, tf32):
    way()
    before = on_gpu(), on_processor()
    with float32_products(tf32):
        assert on_gpu() == [precision_name(tf32)] * 3
        assert on_processor() == [IEEE] * 3
    assert (on_gpu(), on_processor()) == before


def test_an_error_inside_leaves_torch_as_it_was_found():
    torch.set_float32_matmul_precision("high")
    with pytest.raises(KeyError), float32_products():
        raise KeyError
    assert torch.get_float32_matmul_precision() == "high"


class Watching(nn.Module):
    """A network that notes what float32 means while it computes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.seen = set()

    def forward(self, inputs):
        self.seen |= set(on_gpu()) | set(on_processor())
        return self.layer(inputs)


LOSS = nn.CrossEntropyLoss(reduction="none")
BATCH = torch.arange(12.0).reshape(4, 3) / 10, torch.tensor([0, 1, 1, 0])


def test_gradients_are_measured_without_tf32_unless_it_is_asked_for():
    torch.set_float32_matmul_precision("medium")
    model = Watching()
    statistics = gradient_statistics(model, LOSS, [BATCH])
    reference = per_example_gradients(model, LOSS, *BATCH)
    assert model.seen == {IEEE}
    expected = sum(float((g.double() ** 2).sum()) for g in reference.values())
    assert statistics.sum_sq_norm() == pytest.approx(expected, rel=1e-6)

    model.seen.clear()
    gradient_statistics(model, LOSS, [BATCH], tf32=True)
    assert model.seen == {TF32, IEEE}  # on a GPU; products on the processor are float32's
    assert np.isfinite(statistics.m_coherence())


def test_a_model_on_a_gpu_without_float64_is_measured_on_the_processor_and_says_so(monkeypatch):
    """Every device is taken for such a GPU here, so that a copy is measured and the model itself is never called."""
    model = Watching()
    expected = gradient_statistics(model, LOSS, [BATCH])
    model.seen.clear()
    monkeypatch.setattr("mcoherence.gradients.sweep.sample_pass.has_no_float64", lambda device: True)
    with pytest.warns(UserWarning, match="measuring on the processor: Apple's GPU has no float64"):
        found = gradient_statistics(model, LOSS, [BATCH])
    assert model.seen == set()
    assert found.sum_sq_norm() == expected.sum_sq_norm()
    assert found.sq_norm_of_sum() == expected.sq_norm_of_sum()
