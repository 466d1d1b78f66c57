"""Checks of what functions of this room are called with: labels, whole numbers and shares."""

import sys
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcoherence.errors import UserError

WHOLE: Any = Integral
REAL: Any = Real
GREATEST_SEED = 2**63 - 1  # what torch, HDF5 and Parquet all take


def whole_number(what: str, found: Any, least: int, most: int | None = None) -> int:
    """The whole number that `found` is; `what` names it in the message.

    Raises:
        UserError: it is something else, 3.0 and True included, or is out of range.
    """
    is_whole = isinstance(found, WHOLE) and not isinstance(found, bool)
    if not is_whole or found < least or (most is not None and found > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UserError(f"{what}: found {_in_one_line(found)}, expected a whole number {bounds}")
    return int(found)


def share(what: str, found: Any) -> float:
    """The number in [0, 1] that `found` is; `what` names it in the message.

    Raises:
        UserError: it is something else, NaN and True included.
    """
    if not isinstance(found, REAL) or isinstance(found, bool) or not 0.0 <= found <= 1.0:
        raise UserError(f"{what}: found fraction {_in_one_line(found)}, expected a number in [0, 1]")
    return float(found)


def class_labels(what: str, found: Any, num_classes: int | None = None) -> NDArray[np.int64]:
    """Labels int64 [N] from an array, a tensor or a list of whole numbers; a copy.

    What could be meant in two ways is refused: labels with a second dimension (a column of labels, or one-hot), numbers
    with a fraction, and truth values.

    Args:
        what: the name of what they are for, in the message.
        found: the labels.
        num_classes: labels are in [0, num_classes); None: not negative.

    Raises:
        UserError: they are something else.
    """
    labels = _whole_numbers(what, found, "label", "flatten a column, or take the argmax of one-hot labels")
    most = np.iinfo(np.int64).max if num_classes is None else num_classes - 1
    outside = labels[(labels < 0) | (labels > most)]
    if outside.size and num_classes is None:
        raise UserError(
            f"{what}: found label {outside[0]}, expected whole numbers from 0 on; let the classes be 0, 1, 2, ..., and "
            "leave out examples without a label"
        )
    if outside.size:
        raise UserError(f"{what}: found label {outside[0]}, a label outside 0..{most}; check num_classes")
    return labels.astype(np.int64)


def places(what: str, found: Any, count: int) -> NDArray[np.int64]:
    """Positions int64 [n] among `count` examples, from an array, a tensor or a list of whole numbers; a copy.

    Raises:
        UserError: they are something else, such as a mask.
    """
    positions = _whole_numbers(what, found, "position", "take numpy.flatnonzero of a mask")
    outside = positions[(positions < 0) | (positions >= count)]
    if outside.size:
        raise UserError(f"{what}: found position {outside[0]}, expected one of the {count} from 0 on")
    return positions.astype(np.int64)


def _whole_numbers(what: str, found: Any, noun: str, way_out: str) -> NDArray[np.integer]:
    """Whole numbers [N]; `noun` is what one of them is, `way_out` what to do about those with another shape."""
    # Nothing is masked where numpy.ma is not loaded, and loading it takes longer than many a job reads its data.
    if "numpy.ma" in sys.modules and np.ma.isMaskedArray(found) and np.ma.getmaskarray(found).any():
        raise UserError(f"{what}: found {noun}s that are masked out, expected one for each example; leave them out")
    try:
        # A tensor comes from whatever device; NumPy has no word for some of its types, of which none is whole.
        numbers = np.asarray(found.detach().cpu().numpy() if hasattr(found, "detach") else found)
    except TypeError as error:
        raise UserError(f"{what}: found {noun}s of type {found.dtype}, expected whole numbers; convert them") from error
    except ValueError as error:
        raise UserError(
            f"{what}: found {noun}s of unequal lengths, expected one whole number for each example"
        ) from error
    if numbers.ndim != 1:
        raise UserError(
            f"{what}: found {noun}s of shape {list(numbers.shape)}, expected [N], one whole number for each example; "
            f"{way_out}"
        )
    if numbers.size == 0:
        return numbers.astype(np.int64)  # an empty list has no type
    if not np.issubdtype(numbers.dtype, np.integer):
        raise UserError(
            f"{what}: found {noun}s of type {numbers.dtype}, expected whole numbers; convert them, or {way_out}"
        )
    return numbers


def _in_one_line(found: object) -> str:
    return " ".join(repr(found).split())
