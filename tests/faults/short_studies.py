"""A study of a few seconds, and the configs of it that differ in length, segments, checkpoints, settings and code."""

from dataclasses import dataclass
from pathlib import Path

from tests.faults.bench import Study, made_once, new_study

# A run, one that starts from its last weights, and the split of easy examples, which follows from all checkpoints.
STUDY = """
study: bench
experiments: [adversarial_start]
datasets: {{digits: {{source: digits, train_size: 120}}}}
models: {{mlp: {{architecture: mlp, hidden: [6]}}}}
optimizers:
  first: {{method: sgd, lr: {rate}}}
  after: {{method: rm3, lr: 0.2, start: {{labels: half_random, optimizer: first}}}}
training: {{updates: {updates}, batch_size: 20, {segments}checkpoints: {{every_step_until: {every}, per_doubling: 1}}}}
adversarial_start:
  {{datasets: [digits], models: [mlp], labels: clean, optimizer: first, adversarial_optimizer: after, seeds: [0]}}
easy_hard:
  {{datasets: [digits], models: [mlp], labels: clean, optimizer: first, reference_seeds: [0], test_fraction: 0.2}}
figures: {{dpi: 50}}
"""
EDITED = {"optimizer": "mcoherence/optim/rm3.py", "training": "mcoherence/training/updates.py"}


@dataclass(frozen=True)
class Asked:
    """A config, and a module with a line more, which does nothing but is another code."""

    updates: int
    segment: int | None
    every: int = 1
    rate: float = 0.3
    edited: str | None = None

    def __str__(self):
        return "-".join(str(value) for value in vars(self).values())

    def ask_of(self, study):
        segments = "" if self.segment is None else f"segment_updates: {self.segment}, "
        values = {"updates": self.updates, "segments": segments, "every": self.every, "rate": self.rate}
        study.configure(STUDY.format(**values))
        for name, file in EDITED.items():
            path = study.folder / file
            text = path.read_text().removesuffix("\nUNUSED = 1\n") + ("\nUNUSED = 1\n" if name == self.edited else "")
            if text != path.read_text():
                path.write_text(text)


# From one to another of them there are more and fewer updates, to a multiple of the length of segments and to none;
# longer and shorter segments, on and off; other checkpoints; each alone and with another rate or other code.
CONFIGS = (
    Asked(8, 4),
    Asked(12, 4),
    Asked(6, 4, rate=0.2),
    Asked(8, 3, edited="optimizer"),
    Asked(8, None, every=2),
    Asked(5, None, edited="training"),
)


def fresh(folder: Path, asked: Asked) -> Study:
    """The study of a config, run in a folder of its own below the one that all workers share; made once."""

    def make(own: Path) -> None:
        study = new_study(own, "")
        asked.ask_of(study)
        study.finish()

    return made_once(folder / f"fresh-{asked}", make)
