"""Training against a loop written out here."""

import io
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mcoherence.data.batches import draws_from
from mcoherence.device import prepare_device
from mcoherence.errors import UserError
from mcoherence.files.progress import progress
from mcoherence.optim.methods import METHODS as ENTRIES
from mcoherence.training.loop import initial_model, train
from mcoherence.training.ranks import Ranks
from mcoherence.training.settings import Execution, TrainingSettings
from mcoherence.training.state import TrainingState, read_state, write_state
from mcoherence.training.updates import check_sizes

CPU = Execution(torch.device("cpu"))
MLP = {"architecture": "mlp", "hidden": [5]}


@dataclass(frozen=True)
class InMemory:
    """Examples of three classes that are a tensor [N, C, H, W] and labels [N]."""

    inputs: torch.Tensor
    labels: torch.Tensor
    num_classes: int = 3

    def __len__(self):
        return len(self.inputs)

    @property
    def input_shape(self):
        return tuple(self.inputs.shape[1:])

    def batches(self, schedule):
        for _, positions in schedule:
            index = torch.from_numpy(positions)
            yield self.inputs[index], self.labels[index]


def settings(optimizer, start=0, stop=7, checkpoint_steps=(0, 3, 7), seed=1, precision="float32", batch_size=8):
    entry = ENTRIES[optimizer["method"]]
    update = entry.mini_batches(optimizer), entry.groups(optimizer)
    return TrainingSettings(MLP, optimizer, *update, batch_size, precision, False, start, stop, checkpoint_steps, seed)


def first_weights(run, data):
    return initial_model(run, InMemory(*data))


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(20, 1, 2, 2, generator=generator), torch.randint(0, 3, (20,), generator=generator)


def weights_at_checkpoints(run, data):
    """{step: state_dict} of a run, and its log."""
    saved, log, _ = trained(run, data)
    return saved, log


def trained(run, data, begin=None, keeper=None):
    """{step: state_dict}, the log and the end state of a segment."""
    saved = {}

    def save(step, epoch, model, diverged_at):
        saved[step] = {name: value.clone() for name, value in model.state_dict().items()}

    return saved, *train(run, InMemory(*data), CPU, save, begin, keeper)


def gradient(model, data, positions):
    loss = F.cross_entropy(model(data[0][positions]), data[1][positions])
    return torch.autograd.grad(loss, list(model.parameters()))


def descend(model, direction, lr):
    with torch.no_grad():
        for p, d in zip(model.parameters(), direction, strict=True):
            p -= lr * d


def median(gradients):
    return [torch.stack(tensors).median(dim=0).values for tensors in zip(*gradients, strict=True)]


def plain_loop(method, run, data):
    """The weights after every update, by the definitions alone."""
    model, history, recent = first_weights(run, data), {}, []
    draws = draws_from(0, 20, 8, run.seed)
    for step in range(run.stop + 1):
        history[step] = {name: value.clone() for name, value in model.state_dict().items()}
        _, batch = next(draws)
        if method == "m3":
            direction = median([gradient(model, data, part) for part in np.array_split(batch, 3)])
        else:
            recent = [*recent, gradient(model, data, batch)][-3:]
            mean = [sum(tensors) / 3 for tensors in zip(*recent, strict=True)]
            direction = {"sgd": recent[-1], "rm3": median(recent), "ra3": mean}[method]
        if method in ("sgd", "m3") or len(recent) == 3:
            descend(model, direction, lr=0.5)
    return history


@pytest.mark.parametrize("method", ["sgd", "m3", "rm3", "ra3"])
def test_checkpoints_follow_the_definition_of_the_optimiser(method, data):
    run = settings({"method": method, "lr": 0.5})
    saved, _ = weights_at_checkpoints(run, data)
    expected = plain_loop(method, run, data)
    assert list(saved) == [0, 3, 7]
    for step, weights in saved.items():
        for name, value in weights.items():
            assert torch.allclose(value, expected[step][name], rtol=1e-5, atol=1e-7), (step, name)


def test_groups_that_do_not_divide_the_mini_batch_differ_by_one_example_and_count_alike(data):
    """20 examples in 7 groups: six of 3 and one of 2, whatever their size each of them one vote of the median."""
    run = settings({"method": "m3", "lr": 0.5, "groups": 7}, stop=1, checkpoint_steps=(1,), batch_size=20)
    saved, _ = weights_at_checkpoints(run, data)
    model, (_, batch) = first_weights(run, data), next(draws_from(0, 20, 20, run.seed))
    parts = [batch[3 * one : 3 * one + 3] for one in range(7)]
    assert [len(part) for part in parts] == [3, 3, 3, 3, 3, 3, 2]
    descend(model, median([gradient(model, data, part) for part in parts]), lr=0.5)
    for name, value in model.state_dict().items():
        assert torch.allclose(saved[1][name], value, rtol=1e-5, atol=1e-7), name


def test_a_group_without_an_example_in_the_last_mini_batch_of_an_epoch_counts_as_a_gradient_of_zero(data):
    """19 and then 1 of 20 examples in three groups: of g, 0 and 0 the median is 0, in every coordinate."""
    run = settings({"method": "m3", "lr": 0.5}, stop=2, checkpoint_steps=(0, 1, 2), batch_size=19)
    saved, _ = weights_at_checkpoints(run, data)
    assert any(not torch.equal(saved[0][name], saved[1][name]) for name in saved[0])
    assert all(torch.equal(saved[1][name], saved[2][name]) for name in saved[0])


def test_every_optimiser_starts_from_the_weights_of_the_seed(data):
    starts = [weights_at_checkpoints(settings({"method": m, "lr": 0.5}), data)[0][0] for m in ("sgd", "rm3")]
    other = weights_at_checkpoints(settings({"method": "sgd", "lr": 0.5}, seed=2), data)[0][0]
    assert torch.equal(starts[0]["output.weight"], starts[1]["output.weight"])
    assert not torch.equal(starts[0]["output.weight"], other["output.weight"])


def test_training_again_gives_the_same_bits_whatever_the_global_generator(data):
    run = settings({"method": "sgd", "lr": 0.5})
    first, _ = weights_at_checkpoints(run, data)
    torch.manual_seed(99)
    second, _ = weights_at_checkpoints(run, data)
    assert all(torch.equal(first[7][name], second[7][name]) for name in first[7])


def test_the_log_has_the_loss_before_every_update(data):
    run = settings({"method": "sgd", "lr": 0.5})
    _, log = weights_at_checkpoints(run, data)
    model = first_weights(run, data)
    _, batch = next(draws_from(0, 20, 8, run.seed))
    expected = F.cross_entropy(model(data[0][batch]), data[1][batch]).item()
    assert log.loss[0] == pytest.approx(expected, rel=1e-6)
    assert log.epoch.tolist() == pytest.approx([0, 0.4, 0.8, 1.0, 1.4, 1.8, 2.0])


class KeepEvery:
    """A keeper that is always due, and keeps a copy of every state as its file would hold it."""

    due = True

    def __init__(self, folder):
        self.folder, self.paths = folder, {}

    def keep(self, state):
        self.paths[state.update] = self.folder / f"{state.update}.safetensors"
        write_state(self.paths[state.update], state)


METHODS = [
    {"method": "sgd", "lr": 0.5, "momentum": 0.9},
    {"method": "m3", "lr": 0.5, "groups": 3},
    {"method": "m3_successive", "lr": 0.5, "groups": 3},
    {"method": "rm3", "lr": 0.5},
    {"method": "ra3", "lr": 0.5},
    {"method": "winsorized", "lr": 0.5, "c": 10, "momentum": 0.9},
    {"method": "gradient_agreement", "lr": 0.5, "groups": 3, "threshold": 1, "momentum": 0.9},
    {"method": "sgd_m3_norm", "lr": 0.5, "groups": 3},
    {"method": "sgd_clipped", "lr": 0.5, "max_norm": 0.5, "momentum": 0.9},
    {"method": "adam", "lr": 0.01, "betas": [0.9, 0.999], "weight_decay": 0.1},
    {"method": "adamw", "lr": 0.01, "betas": [0, 0.99], "eps": 1e-6, "weight_decay": 0.1},
]


def test_every_method_is_among_those_that_are_trained_here():
    assert [optimizer["method"] for optimizer in METHODS] == list(ENTRIES)


@pytest.mark.parametrize("optimizer", METHODS, ids=lambda optimizer: optimizer["method"])
def test_going_on_from_any_state_gives_the_same_bits(optimizer, data, tmp_path):
    """From every update of a run, through a file: the rest of the run is the one that was never interrupted."""
    data = data[0], data[1]
    run = settings(optimizer, checkpoint_steps=tuple(range(8)))
    keeper = KeepEvery(tmp_path)
    whole, log, end = trained(run, data, keeper=keeper)
    assert list(keeper.paths) == list(range(7))
    for update, path in keeper.paths.items():
        rest, same_log, same_end = trained(run, data, begin=read_state(path))
        assert list(rest) == list(range(update, 8))
        for step, weights in rest.items():
            assert all(torch.equal(value, whole[step][name]) for name, value in weights.items()), (update, step)
        assert np.array_equal(same_log.loss, log.loss)
        write_state(tmp_path / "end", end)
        write_state(tmp_path / "same", same_end)
        assert (tmp_path / "end").read_bytes() == (tmp_path / "same").read_bytes()


@pytest.mark.parametrize("optimizer", METHODS, ids=lambda optimizer: optimizer["method"])
def test_a_chain_of_segments_is_one_run(optimizer, data, tmp_path):
    """Segments of 3, 2 and 2 updates, each from the file of the one before; an epoch has 3 mini-batches."""
    whole, log, _ = trained(settings(optimizer, checkpoint_steps=(0, 3, 5, 7)), data)
    state, losses, chained = None, [], {}
    for start, stop in ((0, 3), (3, 5), (5, 7)):
        steps = (0, 3) if start == 0 else (stop,)
        saved, part, state = trained(settings(optimizer, start, stop, steps), data, begin=state)
        write_state(tmp_path / "state", state)
        state = read_state(tmp_path / "state")
        assert (part.start, len(part.loss), len(state.losses)) == (start, stop - start, 0)
        chained |= saved
        losses += part.loss.tolist()
    assert losses == log.loss.tolist()
    assert list(chained) == list(whole)
    assert all(torch.equal(chained[s][name], value) for s in whole for name, value in whole[s].items())


def test_what_layers_draw_depends_on_seed_and_update_alone(data, tmp_path, monkeypatch):
    """With dropout, going on from the middle still gives the same bits, and another seed other ones."""

    def with_dropout(model, input_shape, num_classes):
        del model
        width = int(np.prod(input_shape))
        layers = torch.nn.Flatten(), torch.nn.Linear(width, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, num_classes)
        return torch.nn.Sequential(*layers)

    monkeypatch.setattr("mcoherence.training.loop.build_model", with_dropout)
    run = settings({"method": "sgd", "lr": 0.5}, checkpoint_steps=(7,))
    keeper = KeepEvery(tmp_path)
    whole, log, _ = trained(run, data, keeper=keeper)
    torch.manual_seed(123)
    rest, _, _ = trained(run, data, begin=read_state(keeper.paths[4]))
    assert all(torch.equal(value, whole[7][name]) for name, value in rest[7].items())
    start = TrainingState(0, first_weights(run, data).state_dict())
    _, other, _ = trained(replace(run, seed=2), data, begin=start)
    assert other.loss[0] != log.loss[0]


def test_weights_of_another_run_start_a_fresh_optimiser(data):
    """Adversarial initialisation: the first update descends from those weights as if no update had been before."""
    other, _, _ = trained(settings({"method": "sgd", "lr": 0.5, "momentum": 0.9}, seed=5), data)
    run = settings({"method": "sgd", "lr": 0.25, "momentum": 0.9}, stop=1, checkpoint_steps=(0, 1))
    saved, _, _ = trained(run, data, begin=TrainingState(0, other[7]))
    model = first_weights(run, data)
    model.load_state_dict(other[7])
    descend(model, gradient(model, data, next(draws_from(0, 20, 8, run.seed))[1]), lr=0.25)
    assert all(torch.equal(value, other[7][name]) for name, value in saved[0].items())
    assert all(torch.allclose(value, model.state_dict()[name], rtol=1e-6) for name, value in saved[1].items())


def test_a_run_that_diverges_is_recorded_and_not_an_error(data):
    """A rate of 1e30: the first update makes weights of 1e30, whose loss is no number."""
    record = {}

    def save(step, epoch, model, diverged_at):
        record[step] = diverged_at, all(bool(torch.isnan(value).all()) for value in model.state_dict().values())

    run = settings({"method": "sgd", "lr": 1e30}, stop=300, checkpoint_steps=(0, 1, 2, 200, 300))
    log, end = train(run, InMemory(data[0] * 1e5, data[1]), CPU, save)
    at = end.diverged_at
    assert 1 <= at < 5
    assert np.isfinite(log.loss[:-1]).all()
    assert not np.isfinite(log.loss[-1])
    assert len(log.loss) == at + 1
    assert record[0] == (None, False)
    assert record[200] == record[300] == (at, True)

    later = settings({"method": "sgd", "lr": 1e30}, start=300, stop=600, checkpoint_steps=(450, 600))
    log, end = train(later, InMemory(*data), CPU, save, begin=end)
    assert record[450] == record[600] == (at, True)
    assert (len(log.loss), end.diverged_at) == (0, at)


def test_weights_that_overflow_at_the_last_update_are_a_divergence(data):
    """No loss was taken after the last update, so the weights themselves are looked at."""
    saved, log, end = trained(
        settings({"method": "sgd", "lr": 1e38}, stop=1, checkpoint_steps=(0, 1)), (data[0] * 1e3, data[1])
    )
    assert np.isfinite(log.loss).all()
    assert end.diverged_at == 1
    assert torch.isnan(saved[1]["output.weight"]).all()


def test_precision_is_that_of_the_weights_or_of_autocast(data):
    runs = {name: settings({"method": "sgd", "lr": 0.1}, precision=name) for name in ("float32", "float64", "bfloat16")}
    saved = {name: weights_at_checkpoints(run, data)[0][7]["output.weight"] for name, run in runs.items()}
    assert [saved[name].dtype for name in runs] == [torch.float32, torch.float64, torch.float32]
    assert torch.allclose(saved["float64"].float(), saved["float32"], rtol=1e-4, atol=1e-6)
    assert not torch.equal(saved["bfloat16"], saved["float32"])
    assert torch.allclose(saved["bfloat16"], saved["float32"], rtol=0.1, atol=0.02)


@pytest.mark.parametrize("tf32", [False, True])
def test_training_uses_tf32_where_its_settings_say_so_whatever_the_process_is_set_to(data, tf32):
    seen = set()

    def note(_module, inputs):
        if inputs[0].shape[0] > 2:  # not a trial of shapes when the network is built
            seen.add(torch.backends.cuda.matmul.fp32_precision)

    torch.set_float32_matmul_precision("high")
    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        weights_at_checkpoints(replace(settings({"method": "sgd", "lr": 0.1}), tf32=tf32), data)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        hook.remove()
        torch.set_float32_matmul_precision("highest")
    assert seen == {"tf32" if tf32 else "ieee"}


def test_the_memory_layout_does_not_change_the_numbers(data):
    """A network with convolutions, whose images and weights lie channel by channel last."""
    images = torch.randn(20, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    cnn = {"architecture": "cnn", "channels": [4, 5], "hidden": 6, "batch_norm": True}
    run = replace(settings({"method": "rm3", "lr": 0.1}, checkpoint_steps=(7,)), model=cnn)
    saved = []

    def save(step, epoch, model, diverged_at):
        saved.append({name: value.clone() for name, value in model.state_dict().items()})

    for channels_last in (False, True):
        train(run, InMemory(images, data[1]), Execution(torch.device("cpu"), channels_last=channels_last), save)
    assert saved[1]["conv2.weight"].is_contiguous(memory_format=torch.channels_last)
    assert all(torch.allclose(value, saved[1][name], rtol=1e-4, atol=1e-6) for name, value in saved[0].items())


@pytest.mark.parametrize(("batch_size", "last"), [(18, 2), (5, 5)])
def test_a_mini_batch_that_cannot_be_shared_out_is_refused(data, batch_size, last):
    run = settings({"method": "m3", "lr": 0.5, "groups": 3}, batch_size=batch_size)
    message = (
        rf"training\.batch_size: found {batch_size}, .* of {last} out of 20 examples, expected at least 6, one for"
    )
    with pytest.raises(UserError, match=message):
        check_sizes(run, 20, Ranks(0, 2))
    check_sizes(run, 20, Ranks())


def test_a_mini_batch_larger_than_all_examples_is_refused(data):
    """It would train as one of all examples, while every record of it says another size."""
    run = settings({"method": "sgd", "lr": 0.1}, batch_size=21)
    with pytest.raises(UserError, match=r"^training\.batch_size: found 21, expected at most the 20 examples"):
        trained(run, data)


def test_a_missing_device_is_refused_by_name():
    if torch.cuda.is_available():
        assert prepare_device("cuda", 1).type == "cuda"
    else:
        with pytest.raises(
            UserError, match=r"device: found 'cuda', expected one that this machine has \((mps, )?cpu\)"
        ):
            prepare_device("cuda", 1)


def test_progress_in_a_log_file_is_whole_lines(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(progress(iter(range(5)), 5, "train")) == [0, 1, 2, 3, 4]
    lines = log.getvalue().splitlines()
    assert lines[0] == "train: 0/5"
    assert lines[-1].startswith("train: 100% 5/5")
    assert "\r" not in log.getvalue()
