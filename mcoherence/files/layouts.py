"""What the HDF5 files of each schema hold: the kind and the axes of every data set, in one place.

A file need not hold all of it, but nothing else; writers and readers are both held to it. What the values mean is in
docs/result-files.md.

Index letters: N training examples, M test examples, C channels, H and W pixels, A classes, K checkpoints, G groups, P
parameters, L layers, m examples of the measured sample, h of its held-out part, B mini-batches of b examples, W worlds,
R reference runs, D directions; each is one number throughout a file. A "." is an axis of any size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

OPERATIONAL = True  # no number depends on it; docs/reruns.md

Kind = Literal["pixels", "integer", "number", "truth", "text"]
# numpy's letters of the types of each kind
LETTERS: dict[Kind, str] = {"pixels": "u", "integer": "i", "number": "f", "truth": "b", "text": "O"}


@dataclass(frozen=True)
class Stored:
    """One data set or attribute: the kind of its values, and its axes.

    kind: of the values; pixels are of one byte.
    axes: an index letter each, apart by blanks; "..." at the end stands for any further ones.
    least: the smallest value, of integers; they are read for it whenever the file is opened, so of one axis only.
    below: the index letter whose size every value is below.
    reaching: whether the largest value that is below an index letter's size must be the last one, over all data sets of
        the file: every name then has something that it is the name of.
    positive: whether every value must be finite and above zero.
    streamed: whether it is too large to be read again for a digest of its own. The attribute content_sha256 then is of
        the bytes of all data sets of the layout, in its order.
    """

    kind: Kind
    axes: str
    least: int | None = None
    below: str | None = None
    reaching: bool = False
    positive: bool = False
    streamed: bool = False


@dataclass(frozen=True)
class Layout:
    """The data sets of a schema by name, in which {} stands for any, and attributes that are more than a record."""

    datasets: Mapping[str, Stored]
    attributes: Mapping[str, Stored] = field(default_factory=dict)


def stored_as(schema: str, name: str) -> Stored | None:
    """What the layout of a schema says of a data set, or None where there is no such layout or data set."""
    datasets = LAYOUTS[schema].datasets if schema in LAYOUTS else {}
    patterns = (pattern for pattern in datasets if "{}" in pattern and _matches(pattern, name))
    return datasets.get(name) or next((datasets[pattern] for pattern in patterns), None)


def _matches(pattern: str, name: str) -> bool:
    before, _, after = pattern.partition("{}")
    return len(name) > len(before) + len(after) and name.startswith(before) and name.endswith(after)


def _whole_numbers(axes: str, below: str | None = None, *, reaching: bool = False) -> Stored:
    return Stored("integer", axes, least=0, below=below, reaching=reaching)


def _numbers(axes: str) -> Stored:
    return Stored("number", axes)


def _evaluated(examples: str, test_examples: str) -> dict[str, Stored]:
    return _ALONG_RUN | {
        "train/index": _whole_numbers(examples),
        "train/loss": _numbers(f"K {examples}"),
        "test/loss": _numbers(f"K {test_examples}"),
        "train/prediction": Stored("integer", f"K {examples}"),
        "test/prediction": Stored("integer", f"K {test_examples}"),
    }


_ALONG_RUN = {"step": _whole_numbers("K"), "epoch": _numbers("K"), "diverged": Stored("truth", "K")}
_MEASURED = _ALONG_RUN | {
    "group": Stored("text", "G"),
    "layer": Stored("text", "L"),
    "layer_type": Stored("text", "L"),
    "parameter": Stored("text", "P"),
    "parameter_layer": _whole_numbers("P", below="L"),
    "n": _whole_numbers("K G"),
    "sum_sq_norm": _numbers("K G P"),
    "gram": _numbers("K G G P"),
    "m_coherence": _numbers("K G L"),
    "m_coherence_model": _numbers("K G"),
    "sample/index": _whole_numbers("m"),
    "sample/group": _whole_numbers("m", below="G"),
}
_HELD_OUT = {"heldout/index": _whole_numbers("h"), "heldout/group": _whole_numbers("h", below="G")}
_REDRAWN = {"redrawn/label": Stored("integer", "K m")}
# In place of sum_sq_norm and gram, where coherence is estimated from mini-batches.
_MINIBATCHES = {
    "minibatches": Stored("integer", "K G"),
    "minibatch_sum_sq_norm": _numbers("K G P"),
    "minibatch_gram": _numbers("K G G P"),
    "sample/minibatch": Stored("integer", "m"),
    "heldout/minibatch": Stored("integer", "h"),
}
_CELLS = {"corrupt_cells": Stored("truth", "W G")}
_SUMS = {"sums/{}": Stored("number", "G ...")}

LAYOUTS = {
    "mcoherence/images/2": Layout(
        {
            "train/images": Stored("pixels", "N C H W", streamed=True),
            "train/targets": _whole_numbers("N", below="A", reaching=True),
            "test/images": Stored("pixels", "M C H W", streamed=True),
            "test/targets": _whole_numbers("M", below="A", reaching=True),
        },
        {
            "mean": _numbers("C"),
            "std": Stored("number", "C", positive=True),
            "class_names": Stored("text", "A"),
        },
    ),
    "mcoherence/labels/2": Layout(
        {
            "labels": _whole_numbers("N"),
            "original": _whole_numbers("N"),
            "selected": Stored("truth", "N"),
            "changed": Stored("truth", "N"),
            "test/targets": _whole_numbers("M"),
        }
    ),
    "mcoherence/evaluation/2": Layout(_evaluated("N", "M")),
    "mcoherence/evaluation_shard/2": Layout(_evaluated("N", "M")),
    "mcoherence/coherence/2": Layout(_MEASURED | _HELD_OUT | _REDRAWN | _MINIBATCHES),
    "mcoherence/coherence_shard/2": Layout(_MEASURED | _HELD_OUT | _REDRAWN | _MINIBATCHES | _SUMS),
    "mcoherence/contributions/3": Layout(_MEASURED | _CELLS),
    "mcoherence/contributions_shard/2": Layout(_MEASURED | _CELLS | _SUMS),
    "mcoherence/difficulty_coherence/2": Layout(_MEASURED),
    "mcoherence/difficulty_coherence_shard/2": Layout(_MEASURED | _SUMS),
    "mcoherence/confusion/1": Layout(
        _ALONG_RUN | {"sample/index": Stored("integer", "B b"), "gram": _numbers("K B B")}
    ),
    "mcoherence/example_scores/1": Layout(
        _ALONG_RUN
        | {
            name: _numbers("K N")
            for name in (
                *("sq_norm", "class_dot", "class_cosine", "all_dot", "all_cosine"),
                *("loss", "el2n", "margin", "confidence"),
            )
        }
    ),
    "mcoherence/difficulty/2": Layout(
        {name: _numbers("R N") for name in ("learned_at", "forgetting_events", "mean_loss", "rank")}
        | {"score": _numbers("N"), "reference_seed": _whole_numbers("R"), "diverged": Stored("truth", "R")}
    ),
    "mcoherence/gradient_statistics/1": Layout(
        {"group": Stored("text", "G"), "parameter": Stored("text", "P")}
        | {"n": _whole_numbers("G"), "sum_sq_norm": _numbers("G P")}
        | _SUMS
    ),
    "mcoherence/example_statistics/1": Layout(
        {"index": _whole_numbers("m"), "loss": _numbers("m"), "sq_norm": _numbers("m L"), "dot": _numbers("D m L")}
        | {"group": Stored("text", "G"), "group_id": _whole_numbers("m", below="G")}
        | {"layer": Stored("text", "L"), "direction": Stored("text", "D")}
    ),
    "mcoherence/split/2": Layout({"{}_train": _whole_numbers("."), "{}_test": _whole_numbers(".")}),
}
