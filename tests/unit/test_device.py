"""Which device "auto" stands for."""

import pytest

from mcoherence.device import chosen_device


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, False, "cuda"), (True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_fastest_kind_that_is_there_and_another_name_stays(cuda, mps, chosen, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    assert chosen_device("auto") == chosen
    assert chosen_device("cuda") == "cuda"  # a plan may be made on a machine without one
