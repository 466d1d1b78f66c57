"""What survives a kill: states in files, records that count only when all is there, signals."""

import os
import signal

import pytest
import torch

from mcoherence.errors import UserError
from mcoherence.files.tensors import write_tensors
from mcoherence.training.resume import LEAVE_STATUS, Keeper, Unfinished, key_of
from mcoherence.training.state import FORMAT, TrainingState, read_state, write_state


def state(update):
    return TrainingState(
        update,
        {"weight": torch.arange(6.0).reshape(2, 3) * update, "batches": torch.tensor(update)},
        {"state": {0: {"previous": [torch.ones(2), torch.zeros(2)], "none": None}}, "param_groups": [{"lr": 0.1}]},
        torch.rand(update, dtype=torch.float64),
    )


def unfinished_with(folder, *updates):
    unfinished = Unfinished(folder, "key")
    for update in updates:
        unfinished.checkpoint_path(update).parent.mkdir(parents=True, exist_ok=True)
        unfinished.checkpoint_path(update).write_bytes(bytes([update]) * 100)
        unfinished.keep(state(update))
    return unfinished


def test_a_state_comes_back_as_it_was(tmp_path):
    written = state(3)
    write_state(tmp_path / "state", written)
    back = read_state(tmp_path / "state")
    assert (back.update, back.diverged_at) == (3, None)
    assert torch.equal(back.model["weight"], written.model["weight"])
    assert back.model["batches"].shape == ()
    assert torch.equal(back.losses, written.losses)
    assert list(back.optimizer["state"]) == [0]  # a number, not the text "0"
    assert back.optimizer["param_groups"] == [{"lr": 0.1}]
    assert back.optimizer["state"][0]["none"] is None
    assert [value.tolist() for value in back.optimizer["state"][0]["previous"]] == [[1, 1], [0, 0]]


def test_something_else_is_no_state(tmp_path):
    (tmp_path / "state").write_bytes(b"torn")
    with pytest.raises(UserError, match="unreadable"):
        read_state(tmp_path / "state")


@pytest.mark.parametrize(
    "described",
    [
        "[]",
        '{"update": "3"}',
        '{"update": -1, "diverged_at": null, "model": {"dict": []}, "optimizer": {"dict": []}, "losses": {"value": 3}}',
        '{"update": 3, "diverged_at": null, "model": {"value": 1}, "optimizer": {"dict": []}, "losses": {}}',
        '{"update": 3, "diverged_at": null, "model": {"tensor": "x"}, "optimizer": {"dict": []}, "losses": {}}',
        "[" * 100_000,
    ],
)
def test_a_state_of_a_stranger_is_one_line(tmp_path, described):
    """Its seals are right: anybody can make them."""
    write_tensors(tmp_path / "state", {"w": torch.ones(2)}, {"format": FORMAT, "state": described})
    with pytest.raises(UserError, match="state: unreadable") as refusal:
        read_state(tmp_path / "state")
    assert "\n" not in str(refusal.value)


def test_a_record_names_files_of_its_own_folder_only(tmp_path, capsys):
    unfinished = unfinished_with(tmp_path, 1, 2)
    record = tmp_path / "key/record2.json"
    record.write_text(record.read_text().replace("step1.safetensors", "../../etc/passwd"))
    assert unfinished.latest().update == 1
    assert "'../../etc/passwd' is no file of an unfinished segment" in capsys.readouterr().err


def test_the_newest_of_two_states_counts(tmp_path):
    unfinished = unfinished_with(tmp_path, 1, 2, 3)
    assert unfinished.latest().update == 3
    names = {path.name for path in (tmp_path / "key").iterdir()}
    assert names == {
        "step1.safetensors", "step2.safetensors", "step3.safetensors",
        "state2.safetensors", "record2.json", "state3.safetensors", "record3.json",
    }  # fmt: skip


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [truncate, flip, os.unlink], ids=["truncated", "one bit flipped", "gone"])
@pytest.mark.parametrize("name", ["state3.safetensors", "record3.json", "step3.safetensors"])
def test_damage_costs_an_interval_and_never_a_wrong_state(tmp_path, capsys, harm, name):
    unfinished = unfinished_with(tmp_path, 1, 2, 3)
    harm(tmp_path / "key" / name)
    assert unfinished.latest().update == 2
    if (name, harm) != ("record3.json", os.unlink):
        assert "the state after update 3 is damaged" in capsys.readouterr().err


def test_damage_to_everything_means_a_fresh_start(tmp_path):
    unfinished = unfinished_with(tmp_path, 1, 2, 3)
    flip(tmp_path / "key/step1.safetensors")
    assert unfinished.latest() is None


def test_a_state_without_its_record_does_not_count(tmp_path):
    unfinished = unfinished_with(tmp_path, 1)
    write_state(tmp_path / "key/state2.safetensors", state(2))
    assert unfinished.latest().update == 1


def test_other_settings_code_inputs_or_devices_are_another_key():
    base = {"settings": {"lr": 0.1}, "code": "c", "inputs": {"a": "1"}, "device": "cpu"}
    changed = ({"settings": {"lr": 0.2}}, {"code": "d"}, {"inputs": {"a": "2"}}, {"device": "cuda"})
    assert len({key_of(**base), *(key_of(**base | change) for change in changed)}) == 5
    assert key_of(**base) == key_of(**base | {"settings": {"lr": 0.1}})


def test_what_other_keys_left_is_removed(tmp_path):
    unfinished_with(tmp_path, 1)
    other = Unfinished(tmp_path, "other")
    assert other.latest() is None
    other.discard_others()
    assert list(tmp_path.iterdir()) == []


def test_published_checkpoints_outlive_the_deletion_of_the_declared_ones(tmp_path):
    unfinished = unfinished_with(tmp_path / "unfinished", 1, 2)
    targets = {step: tmp_path / f"declared/step{step}.safetensors" for step in (1, 2)}
    unfinished.publish(targets)
    assert targets[2].read_bytes() == bytes([2]) * 100
    targets[2].unlink()  # as Snakemake does when the job dies now
    assert unfinished.latest().update == 2
    unfinished.publish(targets)
    assert targets[2].read_bytes() == bytes([2]) * 100


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_keeps_the_state_and_leaves_with_its_own_status(number):
    kept = []
    before = signal.getsignal(number)
    with Keeper(kept.append, seconds=1e6) as keeper:
        assert not keeper.due
        os.kill(os.getpid(), number)
        assert keeper.due
        with pytest.raises(SystemExit) as caught:
            keeper.keep(state(4))
    assert caught.value.code == LEAVE_STATUS == 75
    assert [one.update for one in kept] == [4]
    assert signal.getsignal(number) == before


def test_a_full_disk_costs_the_state_and_not_the_training(capsys):
    def full(_):
        raise OSError(28, "No space left on device")

    with Keeper(full, seconds=0) as keeper:
        keeper.keep(state(4))
    assert "the state after update 4 could not be kept ([Errno 28] No space left on device)" in capsys.readouterr().err


def test_asked_to_leave_on_a_full_disk_nobody_is_told_that_the_state_was_kept(capsys):
    def full(_):
        raise OSError(28, "No space left on device")

    with Keeper(full, seconds=1e6) as keeper:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as caught:
            keeper.keep(state(4))
    assert caught.value.code == LEAVE_STATUS
    said = capsys.readouterr().err
    assert "asked to leave: start again to go on from the last state that was kept" in said
    assert "kept the state" not in said


def test_keeping_states_takes_a_fiftieth_of_the_time_at_most(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("mcoherence.training.resume.time.monotonic", lambda: clock[0])

    def slow(_):
        clock[0] += 10

    keeper = Keeper(slow, seconds=60)
    clock[0] = 60
    keeper.keep(state(1))  # from 60 to 70
    clock[0] = 70 + 499
    assert not keeper.due
    clock[0] = 70 + 500
    assert keeper.due
