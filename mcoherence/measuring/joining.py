"""Parts of a run's measurement or evaluation, made by jobs of their own, put together as if made in one go.

A part is a block of checkpoints or a shard of the examples of one. A block is a result file like the whole, with fewer
checkpoints. A shard of a measurement also holds S itself, as `sums/{k}/{parameter}` [G, *parameter shape] for every
checkpoint k that did not diverge, because |S|^2 is not additive.

Index letters: K checkpoints, G groups, P parameters.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcoherence.errors import UserError
from mcoherence.files.hdf5 import open_hdf5, read_hdf5
from mcoherence.files.provenance import Provenance, merged_provenance
from mcoherence.gradients.batch.evidence import Evidence, merged
from mcoherence.measuring.record import CoherenceRecord, MinibatchRecord
from mcoherence.study.result_names import BATCH, GRADIENT_SCORES, LOGIT_SCORES

Datasets = dict[str, NDArray[Any] | Sequence[str]]
Contents = tuple[Datasets, dict[str, Any]]

# Datasets with one row per checkpoint; `train/loss` and the like have a column per example besides.
DERIVED = frozenset(("gram", "minibatch_gram", "m_coherence", "m_coherence_model"))
ADDED = frozenset(("n", "sum_sq_norm", "minibatches", "minibatch_sum_sq_norm"))
SCORES = frozenset((*GRADIENT_SCORES, *LOGIT_SCORES))
PER_CHECKPOINT = frozenset(("step", "epoch", "diverged", "redrawn/label")) | ADDED | DERIVED | SCORES
INDEX = "train/index"  # positions of the examples of an evaluation that has some of the training part
PER_EXAMPLE = frozenset(f"{part}/{what}" for part in ("train", "test") for what in ("loss", "prediction"))


def add_shards(paths: Sequence[Path], schema: str) -> Contents:
    """The block of a measurement whose shards these are: n, Q and S added up, and the Gram matrices of the new S.

    Only one parameter's S is in memory at a time.

    Args:
        paths: the shards.
        schema: of them.

    Raises:
        UserError: a file is damaged, or they are not shards of the same examples at the same checkpoints.
    """
    shards = [read_hdf5(path, schema, without="sums/") for path in paths]
    datasets, attributes = _alike(paths, shards, differing=ADDED | DERIVED)
    size = attributes["batch_norm"].get("minibatch_size")
    added = ("n", "sum_sq_norm") if size is None else ("minibatches", "minibatch_sum_sq_norm")
    counts, norms = (np.sum([np.asarray(one[name]) for one, _ in shards], axis=0) for name in added)
    gram, dtypes = _gram(paths, schema, datasets)
    sums = (tuple(datasets["parameter"]), counts, norms, gram)
    record = CoherenceRecord(*sums) if size is None else MinibatchRecord(*sums, size)
    attributes["evidence"]["bound_ratio"] = record.largest_bound_ratio(
        torch.float64 if dtypes == {np.dtype("float64")} else torch.float32
    )
    return {**datasets, **record.sums()}, attributes


def add_all_shards(paths: Sequence[Path], schema: str) -> Contents:
    """The whole of which these are all the shards, in any order, each of which says its number in the attribute shard.

    Raises:
        UserError: those of `add_shards`; one is missing or there twice; or they are of other weights or data.
    """
    said = {path: read_hdf5(path, schema, without="sums/")[1] for path in paths}
    first, of_first = paths[0], said[paths[0]]
    for path, attributes in said.items():
        if attributes.get("inputs") != of_first.get("inputs"):
            raise UserError(
                f"{path}: found other weights or data than in {first}, expected shards of one measurement; measure "
                "both again"
            )
        own, other = attributes.get("settings", {}), of_first.get("settings", {})
        if differing := sorted(key for key in own | other if own.get(key) != other.get(key)):
            key = differing[0]
            raise UserError(
                f"{path}: found {key} {own.get(key)!r} where {first} has {other.get(key)!r}, expected shards of one "
                "measurement; measure one of them again with the settings of the other"
            )
        counts = [int(one.get("shard", {}).get("count", 0)) for one in (attributes, of_first)]
        if counts[0] != counts[1]:
            raise UserError(
                f"{path}: found one of {counts[0]} shards where {first} is one of {counts[1]}, expected shards of one "
                "measurement; measure one of them again with the --shard of the other"
            )
    numbers: dict[int, Path] = {}
    for path in paths:
        number = int(said[path].get("shard", {}).get("number", -1))
        if number in numbers:
            raise UserError(f"{path}: found the shard of {numbers[number]} again, expected each once; leave one out")
        numbers[number] = path
    count = int(said[paths[0]].get("shard", {}).get("count", 0))
    if missing := sorted(set(range(count)) - numbers.keys()) or sorted(numbers.keys() - set(range(count))):
        raise UserError(
            f"{paths[0]}: found {len(paths)} of its {count} shards, expected all of them; measure --shard "
            f"{missing[0] + 1}/{count} too"
        )
    datasets, attributes = add_shards([numbers[number] for number in range(count)], schema)
    return datasets, {key: value for key, value in attributes.items() if key != "shard"}


def _gram(paths: Sequence[Path], schema: str, datasets: Datasets) -> tuple[NDArray[np.float64], set[np.dtype[Any]]]:
    """S_a . S_b of the shards' sums added up, float64 [K, G, G, P], NaN where the run had diverged; dtypes of S."""
    checkpoints, groups = len(datasets["step"]), len(datasets["group"])
    gram = np.full((checkpoints, groups, groups, len(datasets["parameter"])), np.nan)
    dtypes: set[np.dtype[Any]] = set()
    with ExitStack() as opened:
        files = [opened.enter_context(open_hdf5(path, schema)) for path in paths]
        for k in np.flatnonzero(~np.asarray(datasets["diverged"])):
            for position, name in enumerate(datasets["parameter"]):
                total = files[0][f"sums/{k}/{name}"][:]
                for file in files[1:]:
                    total += file[f"sums/{k}/{name}"][:]
                dtypes.add(total.dtype)
                flat = total.reshape(groups, -1).astype(np.float64)
                gram[k, :, :, position] = flat @ flat.T
    return gram, dtypes


def join(paths: Sequence[Path], schema: str, shard_schema: str | None = None) -> Contents:
    """The whole of which these are the blocks, in the order of their steps, or shards by examples of such blocks.

    Args:
        paths: blocks; with `shard_schema` shards of them, those of a block in the order of the examples.
        schema: of the whole and of blocks.
        shard_schema: of the shards.

    Raises:
        UserError: a file is damaged, or they are no parts of one whole.
    """
    parts = [read_hdf5(path, shard_schema or schema) for path in paths]
    by_steps: dict[tuple[int, ...], list[Datasets]] = {}
    for datasets, _ in parts:
        by_steps.setdefault(tuple(np.asarray(datasets["step"]).tolist()), []).append(datasets)
    blocks = [
        {
            **shards[0],
            **{name: _joined(shards, name, axis=1) for name in PER_EXAMPLE & shards[0].keys()},
            **{name: _joined(shards, name, axis=0) for name in {INDEX} & shards[0].keys()},
        }
        for _, shards in sorted(by_steps.items())
    ]
    datasets, attributes = _alike(paths, parts, differing=PER_CHECKPOINT | PER_EXAMPLE | {INDEX})
    rows = (PER_CHECKPOINT | PER_EXAMPLE) & blocks[0].keys()
    index = {name: blocks[0][name] for name in {INDEX} & blocks[0].keys()}  # of all blocks
    return {**datasets, **index, **{name: _joined(blocks, name, axis=0) for name in rows}}, attributes


def _joined(parts: Sequence[Datasets], name: str, axis: int) -> NDArray[Any]:
    return np.concatenate([np.asarray(part[name]) for part in parts], axis=axis)


def _alike(paths: Sequence[Path], parts: Sequence[Contents], differing: frozenset[str]) -> Contents:
    """What the parts have in common: the datasets that are not `differing`, and attributes for all of them together."""
    first = parts[0][0]
    for path, (datasets, attributes) in zip(paths, parts, strict=True):
        others = [name for name in first if name not in differing and not _equal(datasets.get(name), first[name])]
        others += [key for key in ("settings", "code", "run") if attributes.get(key) != parts[0][1].get(key)]
        if datasets.keys() != first.keys() or others:
            what = others[0] if others else "contents"
            raise UserError(
                f"{path}: found other {what} than in {paths[0]}, expected parts of one whole; delete both and run again"
            )
    together = [attributes for _, attributes in parts]
    common = together[0] | merged_provenance([Provenance.from_attributes(one) for one in together]).as_attributes()
    if "evidence" in common:
        common["evidence"] = merged([Evidence.from_json(one["evidence"]) for one in together]).as_json()
    if BATCH in common:
        common[BATCH] = sorted({size for one in together for size in one.get(BATCH, [])})
    return {name: values for name, values in first.items() if name not in differing}, common


def _equal(a: Any, b: Any) -> bool:
    """Whether values are the same; NaN, the epoch of weights that do not say theirs, is the same as NaN."""
    floats = np.asarray(b).dtype.kind == "f"
    return a is not None and np.array_equal(np.asarray(a), np.asarray(b), equal_nan=floats)
