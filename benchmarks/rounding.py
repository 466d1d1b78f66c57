"""How far runs drift apart whose first weights differ by rounding: what another processor or torch version changes.

    python benchmarks/rounding.py [--json FILE] [--config FILE ...] [--seeds 0 1 2] [--size 1e-7] [--optimizer sgd]

Every network, label set and seed of the study's label-noise experiment is trained twice, from the same weights and
from those times 1 + `size` e, with e uniform between -1 and 1: by about the last digit of float32. All else is the
same, so that without the factor both runs agree to the bit; that is checked once. At the checkpoints the two are
compared: the distance of their weights over the length of the weights, and the differences of training accuracy, test
accuracy and log10 m-coherence of the training sample, which is measured as the study does.

Printed are medians and largest values over the seeds at some of the checkpoints; the JSON file has all.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from snakemake.utils import validate
from torch import Tensor, nn

from mcoherence.data.corruption import corrupt_labels
from mcoherence.data.loading import ImageLoader, LabelledExamples, image_loader
from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import open_source
from mcoherence.data.store import read_targets
from mcoherence.gradients.statistics import gradient_statistics
from mcoherence.measuring.samples import draw_training_sample
from mcoherence.study.config_files import study_config
from mcoherence.study.runs import Config, Run
from mcoherence.study.segments import checkpoint_steps
from mcoherence.study.settings import corruption_settings, preparation_settings, training_of_run, training_settings
from mcoherence.training.loop import initial_model, train
from mcoherence.training.settings import Execution, TrainingSettings
from mcoherence.training.state import TrainingState

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
QUANTITIES = ("weights", "train_accuracy", "test_accuracy", "log10_m_coherence")
Point = dict[str, Any]


def main() -> None:
    """Train the pairs, compare them and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--config", type=Path, nargs="*", default=[], help="on top of config.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=float, default=1e-7, help="of the relative change of the first weights")
    parser.add_argument("--optimizer", default="sgd")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = dict(study_config(ROOT / "config.yaml", arguments.config, {}).config)
    validate(config, str(ROOT / "schemas/config.schema.json"))
    section, begin = config["label_noise"], time.perf_counter()
    (dataset,) = section["datasets"]
    rows: list[Point] = []
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.h5"
        prepare_images(images, open_source(preparation_settings(config, dataset), ROOT / "data", False), {})
        for model in section["models"]:
            for labels in section["labels"]:
                for seed in arguments.seeds:
                    run = Run(dataset, model, labels, arguments.optimizer, "full", seed)
                    if not rows:
                        require_same(Trial(config, run, images))
                    rows += compared(Trial(config, run, images), arguments.size)
    seconds = time.perf_counter() - begin
    print(f"torch {torch.__version__}, first weights changed by up to {arguments.size:g}, {seconds:.0f} s")
    print_rows(rows)
    if arguments.json:
        described = {"torch": torch.__version__, "size": arguments.size, "optimizer": arguments.optimizer}
        arguments.json.write_text(as_json(described, rows))


class Trial:
    """One run of a study, without its files: what it trains on, how, and what is taken of it at its checkpoints."""

    def __init__(self, config: Config, run: Run, images: Path) -> None:
        self.run = run
        training = training_of_run(config, run)
        asked = training_settings(config, run, 0, training["updates"])
        names = TrainingSettings.__dataclass_fields__
        own = {name: asked[name] for name in names} | {"checkpoint_steps": tuple(checkpoint_steps(training))}
        self.settings = TrainingSettings(**own)
        original = read_targets(images, "train")
        self.test_targets = torch.from_numpy(read_targets(images, "test"))
        self.train_images, self.test_images = (
            image_loader(images, np.arange(size), CPU, part=part)
            for part, size in (("train", len(original)), ("test", len(self.test_targets)))
        )
        corruption = corruption_settings(config, run.labels, run.seed)
        labels, _, changed = corrupt_labels(original, self.train_images.num_classes, **corruption)
        self.labels = torch.from_numpy(labels)
        self.examples = LabelledExamples(self.train_images, self.labels)
        measurement = config["measurement"]
        sample = draw_training_sample(np.arange(len(labels)), changed, measurement["sample_size"], measurement["seed"])
        self.sample = torch.from_numpy(sample.index)

    def trained(self, size: float) -> list[tuple[int, nn.Module]]:
        """(step, network in eval mode) at the checkpoints, from first weights that are changed by up to `size`."""
        model = initial_model(self.settings, self.examples)
        generator = torch.Generator().manual_seed(self.run.seed)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1 + size * (2 * torch.rand(p.shape, generator=generator, dtype=torch.float64) - 1))
        found: list[tuple[int, nn.Module]] = []

        def save(step: int, _epoch: float, network: nn.Module, _diverged_at: int | None) -> None:
            state = {name: value.clone() for name, value in network.state_dict().items()}
            copy = initial_model(self.settings, self.examples)
            copy.load_state_dict(state)
            found.append((step, copy.eval()))

        begin = TrainingState(update=0, model=model.state_dict())
        train(self.settings, self.examples, Execution(CPU), save, begin)
        return found

    def taken(self, model: nn.Module) -> dict[str, float]:
        """Accuracies and log10 m-coherence of one checkpoint."""
        statistics = gradient_statistics(
            model.double(),
            nn.CrossEntropyLoss(reduction="none"),
            [(every_image(self.train_images)[self.sample].double(), self.labels[self.sample])],
            spot_check=0,
        )
        model.float()
        return {
            "train_accuracy": accuracy(model, self.train_images, self.labels),
            "test_accuracy": accuracy(model, self.test_images, self.test_targets),
            "log10_m_coherence": float(np.log10(statistics.m_coherence())),
        }


def every_image(images: ImageLoader) -> Tensor:
    """All inputs of a loader, in order."""
    (inputs,) = images.batches([(0, np.arange(len(images)))])
    return inputs


def accuracy(model: nn.Module, images: ImageLoader, targets: Tensor) -> float:
    """Share of the images that are predicted as their targets."""
    with torch.no_grad():
        return float((model(every_image(images)).argmax(dim=1) == targets).double().mean())


def compared(trial: Trial, size: float) -> list[Point]:
    """Two trainings of one run, and how far apart they are at every checkpoint."""
    rows = []
    for (step, one), (_, other) in zip(trial.trained(0.0), trial.trained(size), strict=True):
        first, second = (torch.cat([p.detach().flatten() for p in model.parameters()]) for model in (one, other))
        taken, again = trial.taken(one), trial.taken(other)
        rows.append(
            {
                "model": trial.run.model, "labels": trial.run.labels, "seed": trial.run.seed, "step": step,
                "weights": float((first - second).norm() / first.norm()),
            } | {name: again[name] - taken[name] for name in taken}
        )  # fmt: skip
    return rows


def require_same(trial: Trial) -> None:
    """Stop unless two trainings from the same weights end in the same weights, bit by bit."""
    ends = [trial.trained(0.0)[-1][1] for _ in range(2)]
    for one, other in zip(*(model.state_dict().values() for model in ends), strict=True):
        if not torch.equal(one, other):
            sys.exit("error: two trainings from the same weights differ, so that nothing could be said of rounding")


def as_json(described: Point, rows: list[Point]) -> str:
    """The rows, one a line, with three digits of what was measured, under what they were measured with."""
    short = [
        {key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    ]
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in described.items()]
    body = ",\n".join(f"  {json.dumps(row)}" for row in short)
    return "\n".join(["{", *lines, ' "rows": [', body, " ]", "}", ""])


def print_rows(rows: list[Point]) -> None:
    """Median and largest absolute value over the seeds, at checkpoints about a factor of four apart."""
    steps = sorted({row["step"] for row in rows})
    shown = [step for step in steps if step in (0, 1, 6, 24, 96, 272, 384, 543, steps[-1])]
    print(f"{'':24s}{'step':>6s}" + "".join(f"{name:>28s}" for name in QUANTITIES))
    for model, labels in dict.fromkeys((row["model"], row["labels"]) for row in rows):
        for step in shown:
            chosen = [row for row in rows if (row["model"], row["labels"], row["step"]) == (model, labels, step)]
            values = {name: np.abs([row[name] for row in chosen]) for name in QUANTITIES}
            text = "".join(f"{np.median(one):>14.2g} (to {one.max():>7.2g})" for one in values.values())
            print(f"{model:8s}{labels:16s}{step:>6d}{text}")


if __name__ == "__main__":
    main()
