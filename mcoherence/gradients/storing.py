"""Statistics on disk: HDF5 files with a schema, sealed and checked as all result files are (`mcoherence.files.hdf5`).

What is read is what was written, to the bit. A file says where it comes from as every result file does: device and
precision that its numbers were made on, libraries and commit of whoever saved it. It has no settings but what was asked
for, and no inputs: model and data were handed over in memory. The classes are not imported here, as they import this
module: fields go in and come out by name.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcoherence.errors import UserError
from mcoherence.files.hdf5 import read_hdf5, write_hdf5
from mcoherence.files.provenance import provenance
from mcoherence.gradients.batch.evidence import Evidence

SUMS = "mcoherence/gradient_statistics/1"
EXAMPLES = "mcoherence/example_statistics/1"
UNKNOWN = "unknown"
Datasets = dict[str, NDArray[Any] | Sequence[str]]


def save_sums(path: str | os.PathLike[str], fields: Mapping[str, Any]) -> None:
    """Write the fields of `GradientStatistics`, S among them, so that they can be merged with others when read again.

    Complex sums are stored as pairs of real numbers along a last axis.
    """
    sums: tuple[Tensor, ...] = fields["group_sums"]
    datasets: Datasets = {
        "group": fields["groups"],
        "parameter": fields["parameters"],
        "n": fields["counts"],
        "sum_sq_norm": fields["sum_sq_norms"],
    }
    for index, one in enumerate(sums):
        datasets[f"sums/{index}"] = (torch.view_as_real(one) if one.is_complex() else one).cpu().contiguous().numpy()
    attributes = _origin(fields, {}) | {"complex": json.dumps([one.is_complex() for one in sums])}
    write_hdf5(path, SUMS, datasets, attributes)


def load_sums(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields that `save_sums` has written.

    Raises:
        UserError: the file is missing, damaged, changed since it was written, or of another schema; one line.
    """
    datasets, attributes = read_hdf5(path, SUMS)
    pairs = json.loads(attributes["complex"])
    sums = [torch.from_numpy(np.asarray(datasets[f"sums/{index}"])) for index in range(len(pairs))]
    return {
        "groups": tuple(map(str, datasets["group"])),
        "parameters": tuple(map(str, datasets["parameter"])),
        "counts": np.asarray(datasets["n"]),
        "sum_sq_norms": np.asarray(datasets["sum_sq_norm"]),
        "group_sums": tuple(torch.view_as_complex(s) if pair else s for s, pair in zip(sums, pairs, strict=True)),
        **_read_origin(attributes),
    }


def save_examples(path: str | os.PathLike[str], fields: Mapping[str, Any]) -> None:
    """Write the fields of `ExampleStatistics`."""
    datasets: Datasets = {
        "index": np.arange(len(fields["losses"])),
        "group": fields["groups"],
        "group_id": fields["group_ids"],
        "layer": fields["layers"],
        "direction": fields["directions"],
        "loss": fields["losses"],
        "sq_norm": fields["sq_norms"],
        "dot": fields["products"],
    }
    asked = {"along": list(fields["directions"]), "own_left_out": list(fields["own_left_out"])}
    write_hdf5(path, EXAMPLES, datasets, _origin(fields, asked) | {"own_left_out": list(fields["own_left_out"])})


def load_examples(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields that `save_examples` has written.

    Raises:
        UserError: the file is missing, damaged, changed since it was written, of another schema, or of an earlier
            version that does not say all of it; one line.
    """
    datasets, attributes = read_hdf5(path, EXAMPLES)
    return {
        "layers": tuple(map(str, datasets["layer"])),
        "sq_norms": np.asarray(datasets["sq_norm"]),
        "directions": tuple(map(str, datasets["direction"])),
        "products": np.asarray(datasets["dot"]),
        "losses": np.asarray(datasets["loss"]),
        "groups": tuple(map(str, datasets["group"])),
        "group_ids": np.asarray(datasets["group_id"]),
        "own_left_out": _own_left_out(Path(path), attributes, tuple(map(str, datasets["direction"]))),
        **_read_origin(attributes),
    }


def _own_left_out(path: Path, attributes: Mapping[str, Any], directions: Sequence[str]) -> tuple[str, ...]:
    """The directions without the own gradient; earlier files say only whether the sums among the directions are.

    Raises:
        UserError: of such a file, whether a direction is a sum: it has a name of its own.
    """
    if "own_left_out" in attributes:
        return tuple(attributes["own_left_out"])
    if not attributes["leave_one_out"]:
        return ()
    for name in directions:
        if name.partition(":")[0] != "sum":
            raise UserError(
                f"{path}: found a direction {name!r} in a file of an earlier version, expected 'sum' or 'sum:GROUP': "
                "it does not say whether the own gradient is left out of it; measure again"
            )
    return tuple(directions)


def _origin(fields: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that say what was measured, on what, and by which code."""
    device, precision = fields["device"] or UNKNOWN, fields["fp32_precision"] or UNKNOWN
    measured = {"evidence": fields["evidence"].as_json(), "fingerprint": fields["fingerprint"]}
    return provenance(settings, [], device, precision).as_attributes() | measured


def _read_origin(attributes: Mapping[str, Any]) -> dict[str, Any]:
    said = {key: str(attributes.get(key, UNKNOWN)) for key in ("device", "fp32_precision")}  # earlier files do not say
    return {
        "evidence": Evidence.from_json(attributes["evidence"]),
        "fingerprint": str(attributes["fingerprint"]),
        **{key: "" if value == UNKNOWN else value for key, value in said.items()},
    }
