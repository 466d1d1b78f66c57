"""The monitor as a callback of Lightning's and of Hugging Face's Trainer, with the real ones.

Both frameworks are in the tests' lock: where one is missing these tests fail.
"""

import json

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from transformers import Trainer, TrainingArguments

from mcoherence import CoherenceMonitor
from mcoherence.errors import UserError
from mcoherence.monitoring.hugging_face import TrainerCoherence
from mcoherence.monitoring.lightning import LightningCoherence
from tests.unit.monitoring.small_training import LOSS, sample

INPUTS, TARGETS, _ = sample(24)
PROBE = INPUTS[:10], TARGETS[:10]


def network(dropout=0.2):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(dropout), nn.Linear(5, 3))


def same_weights(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


class Module(pl.LightningModule):
    def __init__(self, dropout):
        super().__init__()
        self.network = network(dropout)

    def forward(self, inputs):
        return self.network(inputs)

    def training_step(self, batch, _):
        return LOSS(self(batch[0]), batch[1]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.2, momentum=0.9)


class Kept(pl.loggers.logger.DummyLogger):
    """A logger that keeps what it gets."""

    def __init__(self):
        super().__init__()
        self.got = []

    def log_metrics(self, metrics, step=None):
        self.got.append((step, metrics))


def lightning(folder, callbacks=(), logger=False, checkpoint=None, dropout=0.2):
    """Three epochs of 3 updates, two mini-batches each; a checkpoint is saved after each epoch."""
    module = Module(dropout)
    monitors = [make(module) for make in callbacks]
    saving = pl.callbacks.ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    trainer = pl.Trainer(
        max_epochs=3, accumulate_grad_batches=2, logger=logger, accelerator="cpu", default_root_dir=folder,
        callbacks=[saving, *map(LightningCoherence, monitors)], enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    torch.manual_seed(7)
    trainer.fit(module, DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4), ckpt_path=checkpoint)
    return trainer, module, monitors


def test_lightning_trains_as_without_and_logs_what_is_measured(tmp_path):
    _, plain, _ = lightning(tmp_path)
    logger = Kept()
    trainer, module, [monitor] = lightning(
        tmp_path, [lambda module: CoherenceMonitor(module, LOSS, PROBE, 3)], logger
    )  # fmt: skip
    assert same_weights(module, plain)
    assert monitor.history["step"].tolist() == [0, 3, 6, 9]
    ours = [(step, values) for step, values in logger.got if "coherence/m_coherence" in values]
    assert [step for step, _ in ours] == [0, 3, 6, 9]
    assert [values["coherence/m_coherence"] for _, values in ours] == monitor.history["m_coherence"].tolist()
    assert "coherence/m_coherence/layer/network.0" in ours[0][1]
    assert float(trainer.callback_metrics["coherence/alpha"]) == pytest.approx(monitor.history["alpha"][3])


def test_lightning_goes_on_from_a_checkpoint_with_the_history(tmp_path):
    """Without dropout: the generators are no part of Lightning's checkpoints."""
    path, epoch = tmp_path / "c.csv", tmp_path / "epoch=1.ckpt"

    def train(probe=PROBE, checkpoint=None):
        make = [
            lambda module: CoherenceMonitor(module, LOSS, probe, 1, path=path),
            lambda module: CoherenceMonitor(module, LOSS, (INPUTS[:5], TARGETS[:5]), 4, name="another"),
        ]
        return lightning(tmp_path, make, checkpoint=checkpoint, dropout=0.0)

    _, expected, [whole, another] = train()
    content = path.read_bytes()
    _, module, [resumed, another_resumed] = train(checkpoint=epoch)
    assert another_resumed.history["step"].tolist() == [0, 4, 8]
    pd.testing.assert_frame_equal(another_resumed.history, another.history, check_exact=True)
    assert same_weights(module, expected)
    assert resumed.history["step"].tolist() == list(range(10))
    pd.testing.assert_frame_equal(resumed.history, whole.history, check_exact=True)
    assert path.read_bytes() == content
    with pytest.raises(UserError, match=r"^state: found sample"):
        train(probe=(INPUTS[1:11], TARGETS[1:11]), checkpoint=epoch)


class TwoOptimizers(Module):
    """Every mini-batch is an update by each of two optimisers."""

    def __init__(self):
        super().__init__(0.0)
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), 0.1) for part in (self.network[0], self.network[4])]

    def training_step(self, batch, _):
        optimizers = self.optimizers()
        self.manual_backward(super().training_step(batch, _))
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def test_with_several_optimisers_lightning_counts_batches_that_were_updates(tmp_path):
    """`global_step` counts 12 of 6 mini-batches, and has no odd number after one."""

    def train(epochs, checkpoint=None):
        module = TwoOptimizers()
        monitor = CoherenceMonitor(module, LOSS, PROBE, [0, 1, 3, 4, 9])
        trainer = pl.Trainer(
            max_epochs=epochs, callbacks=[LightningCoherence(monitor)], logger=False, accelerator="cpu",
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(module, DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4), ckpt_path=checkpoint)
        return trainer, monitor

    trainer, monitor = train(1)
    assert trainer.global_step == 12
    assert monitor.history["step"].tolist() == [0, 1, 3, 4]
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    _, resumed = train(2, tmp_path / "c.ckpt")
    assert resumed.history["step"].tolist() == [0, 1, 3, 4, 9]


class Answers(nn.Module):
    """As the models of transformers answer: outputs with logits, and with a loss where there are labels."""

    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, inputs, labels=None):
        logits = self.network(inputs)
        return {"logits": logits} if labels is None else {"loss": LOSS(logits, labels).mean(), "logits": logits}


class Examples(Dataset):
    def __len__(self):
        return len(INPUTS)

    def __getitem__(self, index):
        return {"inputs": INPUTS[index], "labels": TARGETS[index]}


def of_logits(outputs, targets):
    return LOSS(outputs["logits"], targets)


def hugging_face(folder, make=None, checkpoint=None, **arguments):
    """Training of 9 updates, two mini-batches each, saved every three."""
    model = Answers()
    monitor = make(model) if make else None
    settings = TrainingArguments(
        output_dir=str(folder), max_steps=9, per_device_train_batch_size=4, gradient_accumulation_steps=2, seed=3,
        save_steps=3, report_to=[], disable_tqdm=True, logging_strategy="no", use_cpu=True, learning_rate=0.05,
        **arguments,
    )  # fmt: skip
    callbacks = [TrainerCoherence(monitor)] if monitor else []
    Trainer(model, settings, train_dataset=Examples(), callbacks=callbacks).train(resume_from_checkpoint=checkpoint)
    return model, monitor


@pytest.fixture(scope="module")
def of_hugging_face(tmp_path_factory):
    """The folder of a run with a monitor, the run's network and monitor."""
    folder = tmp_path_factory.mktemp("trainer")
    return folder, *hugging_face(folder, lambda model: CoherenceMonitor(model, of_logits, PROBE, 2))


def test_hugging_face_trains_as_without(tmp_path, of_hugging_face):
    _, model, monitor = of_hugging_face
    plain, _ = hugging_face(tmp_path)
    assert same_weights(model, plain)
    assert monitor.history["step"].tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("restore", [False, True])
def test_hugging_face_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path, of_hugging_face, restore):
    folder, model, monitor = of_hugging_face
    resumed, again = hugging_face(
        tmp_path, lambda model: CoherenceMonitor(model, of_logits, PROBE, 2), str(folder / "checkpoint-6"),
        restore_callback_states_from_checkpoint=restore,
    )  # fmt: skip
    assert same_weights(resumed, model)
    pd.testing.assert_frame_equal(again.history, monitor.history, check_exact=True)
    kept = json.loads((folder / "checkpoint-6/trainer_state.json").read_text())["stateful_callbacks"]
    assert len(kept["mcoherence: coherence"]["measured"]) == 4


def test_hugging_face_refuses_another_sample_on_resume(tmp_path, of_hugging_face):
    folder, _, _ = of_hugging_face
    with pytest.raises(UserError, match=r"^state: found sample"):
        hugging_face(
            tmp_path,
            lambda model: CoherenceMonitor(model, of_logits, (INPUTS, TARGETS), 2),
            str(folder / "checkpoint-6"),
        )
