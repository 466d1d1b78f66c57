"""Directions that products of gradients are asked for along: sums by name, or tensors of the caller's.

Index letter: n examples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcoherence.gradients.batch.directions import Directions
from mcoherence.gradients.given.reading import read
from mcoherence.gradients.given.wrappers import plain_names
from mcoherence.gradients.statistics import GradientStatistics
from mcoherence.gradients.sweep.sample_pass import Measuring

SUM = "sum"
# What may be asked for: the name of a sum, or a tensor for every parameter.
Direction = str | Mapping[str, Tensor]
Along = str | Sequence[str] | Mapping[str, Direction]


def requested(along: Along | None, groups: Sequence[str] | None) -> dict[str, Direction]:
    """The directions asked for by name; ValueError for a sum of something that is not there, and for no direction."""
    if along is None:
        return {}
    names = [along] if isinstance(along, str) else along
    wanted: dict[str, Any] = dict(names) if isinstance(names, Mapping) else {str(name): name for name in names}
    for name, direction in wanted.items():
        if isinstance(direction, Tensor):
            raise ValueError(
                f"along: found a tensor for {name!r}, expected the name of a direction first: "
                "along={'weights': {parameter name: tensor}}"
            )
        if isinstance(direction, str):
            there = [SUM, *(f"{SUM}:{group}" for group in groups or ())]
            if direction not in there:
                hint = "" if groups else "; sums of groups go with groups=[names] and group ids in the batches"
                raise ValueError(f"along: found {direction!r}, expected one of {', '.join(map(repr, there))}{hint}")
        elif not isinstance(direction, Mapping):
            raise ValueError(
                f"along: found {type(direction).__name__} for {name!r}, expected 'sum', 'sum:GROUP' or "
                "{parameter name: tensor}"
            )
    return wanted


def tensors_of(
    wanted: Mapping[str, Direction], statistics: GradientStatistics, now: Measuring, model: nn.Module
) -> Directions:
    """The directions as tensors, by the names that the engine has for the parameters.

    Args:
        wanted: as they were asked for.
        statistics: of the sample.
        now: the model that is measured, without wrappers.
        model: as it was handed over.
    """
    given = []
    for name, direction in wanted.items():
        if isinstance(direction, str):
            first = 0 if direction == SUM else statistics.groups.index(_group_of(direction))
            chosen = slice(first, len(statistics.groups) if direction == SUM else first + 1)
            sums = (value[chosen].sum(dim=0) for value in statistics.group_sums)
            given.append(dict(zip(now.passes.parameters, sums, strict=True)))
        else:
            given.append(_of_parameters(name, _by_own_names(name, direction, model, now), now))
    return Directions.of(given, now.passes.parameters)


def _of_parameters(name: str, direction: Mapping[str, Tensor], now: Measuring) -> dict[str, Tensor]:
    """A direction that the caller has given, tied parameters by any of their names.

    Frozen parameters, along which no gradient is measured, are left out.
    """
    parameters = now.passes.parameters
    every = dict(now.passes.model.named_parameters(remove_duplicate=False))
    measured = {id(p): actual for actual, p in parameters.items()}
    found: dict[str, Tensor] = {}
    finite: dict[str, Tensor] = {}
    for key, value in direction.items():
        if not every[key].requires_grad:
            continue
        actual = measured[id(every[key])]
        p = parameters[actual]
        if not isinstance(value, Tensor) or value.shape != p.shape or value.layout != torch.strided:
            kind = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"along: found {kind} for {key!r} in {name!r}, expected a dense tensor of {tuple(p.shape)}"
            )
        finite[key] = torch.isfinite(value).all()
        if actual in found and not torch.equal(found[actual], value):
            raise ValueError(
                f"along: found two different tensors for {actual!r} and {key!r} in {name!r}, which are one parameter, "
                "expected one of them, or equal ones"
            )
        found[actual] = value
    for key, it_is in read(finite).items():
        if not it_is:
            raise ValueError(f"along: found numbers in {key!r} of {name!r} that are not finite, expected finite ones")
    return found


def _by_own_names(name: str, direction: Mapping[str, Tensor], model: nn.Module, now: Measuring) -> dict[str, Tensor]:
    """A direction by the names that the measured model has for its parameters, those of tied ones included.

    Names may be those of the model as it was handed over, of the model within its wrappers, or without any prefixes of
    wrappers.
    """
    plain = {without: own for own, without in plain_names(now.passes.model).items()}
    handed_over = {whole: plain[without] for whole, without in plain_names(model).items()}
    within = {own: own for own in plain.values()}
    every = (handed_over, within, plain)
    for key in direction:
        if not any(key in names for names in every):
            raise ValueError(
                f"along: found {key!r} in {name!r}, expected names of the model's parameters, such as "
                f"{next(iter(plain))!r}; dict(model.named_parameters()) has them"
            )
    readings = [{key: names[key] for key in direction} for names in every if direction.keys() <= names.keys()]
    if any(reading != readings[0] for reading in readings):
        raise ValueError(
            f"along: found names in {name!r} that are of other parameters in the wrapper than in the model within, "
            "expected names with one meaning; hand over the model without its wrapper"
        )
    names = readings[0] if readings else {**plain, **within, **handed_over}
    return {names[key]: value for key, value in direction.items()}


def members_of(direction: str, groups: Sequence[str], group_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which examples are part of a sum, bool [n]."""
    if direction == SUM:
        return np.ones(len(group_ids), dtype=np.bool_)
    return np.asarray(group_ids == groups.index(_group_of(direction)))


def _group_of(direction: str) -> str:
    """The group of "sum:GROUP"."""
    return direction.removeprefix(f"{SUM}:")
