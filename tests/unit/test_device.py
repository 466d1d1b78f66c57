"""The device of a job: which one "auto" stands for, the same bytes from it each time, and what Apple's GPUs lack."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from mcoherence.device import (
    NOT_DETERMINISTIC,
    chosen_device,
    describe_device,
    enough_memory,
    prepare_device,
    prepare_measuring_device,
    require_float64,
    without_determinism,
)
from mcoherence.errors import UserError
from workflow_scripts.jobs.entry import run


@pytest.fixture(autouse=True)
def process_as_found():
    mode, threads, filled = (
        torch.get_deterministic_debug_mode(),
        torch.get_num_threads(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    yield
    torch.set_deterministic_debug_mode(mode)
    torch.set_num_threads(threads)
    torch.utils.deterministic.fill_uninitialized_memory = filled


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, False, "cuda"), (True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_fastest_kind_that_is_there_and_another_name_stays(cuda, mps, chosen, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)
    assert chosen_device("auto") == chosen
    assert chosen_device("cuda") == "cuda"  # a plan may be made on a machine without one


def unpool():
    """An operation for which torch has no deterministic algorithm, on the processor as on GPUs."""
    return functional.max_unpool2d(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1, dtype=torch.int64), 2)


def test_what_cannot_be_repeated_to_the_bit_is_refused_in_one_line(capsys):
    prepare_device("cpu", 1)
    with pytest.raises(SystemExit) as stopped:
        run(unpool)
    (line,) = str(stopped.value).splitlines()
    assert line.startswith("error: device: found the operation max_unpooling2d_forward_out, for which")
    assert "operational: {deterministic: false}" in line


def test_without_determinism_it_runs_and_the_record_says_so():
    assert describe_device(prepare_device("cpu", 1)) == "cpu"
    device = prepare_device("cpu", 1, deterministic=False)
    assert unpool().shape == (1, 1, 2, 2)
    assert describe_device(device) == f"cpu, {NOT_DETERMINISTIC}"


SHORT = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ..."), "a GPU .* 2.50 GiB more"),
    (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), "a GPU that has too little;"),
]


@pytest.mark.parametrize(("error", "found"), SHORT)
def test_a_gpu_without_memory_left_is_one_line_with_the_way_out(error, found):
    said = pytest.raises(UserError, match=f"^memory: found {found}.*; lower operational.gpu_batch_mb$")
    with said, enough_memory("lower operational.gpu_batch_mb"):
        raise error


@pytest.mark.parametrize("make", [torch.zeros, np.zeros])
def test_a_machine_without_memory_left_is_one_line(make):
    with pytest.raises(SystemExit) as stopped:
        run(enough_memory("lower operational.cpu_batch_mb")(lambda: make(2**50)))
    (line,) = str(stopped.value).splitlines()
    assert line.startswith("error: memory: found a machine that has too little, asked for ")
    assert line.endswith("more; expected room for this job; lower operational.cpu_batch_mb")


def test_any_other_error_of_torch_keeps_its_traceback():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2) @ torch.ones(3)
    assert without_determinism(caught.value) is None
    with pytest.raises(RuntimeError):
        run(partial(torch.matmul, torch.ones(2), torch.ones(3)))  # no code of a user's own is on the way


def test_gradients_are_measured_on_the_processor_where_the_gpu_has_no_float64(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert prepare_device("auto", 1).type == "mps"
    assert prepare_measuring_device("auto", 1).type == "cpu"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("measuring on the processor: Apple's GPU has no float64")
    assert prepare_measuring_device("cpu", 1).type == "cpu"
    assert capsys.readouterr().err == ""


def test_float64_on_an_apple_gpu_is_refused_by_name():
    with pytest.raises(
        UserError, match=r"device: found mps.*float64.*for training\.precision float64; set `device: cpu`"
    ):
        require_float64(torch.device("mps"), "training.precision float64")
    require_float64(torch.device("cuda"), "training.precision float64")
