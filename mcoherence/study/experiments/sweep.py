"""Exploratory sweeps over one setting of a network; no claim of the papers is tested on them."""

from mcoherence.errors import UserError
from mcoherence.study.experiment import (
    NAMES,
    SEEDS,
    SWEEPS,
    Experiment,
    Figure,
    Table,
    require_entries,
    section_schema,
)
from mcoherence.study.runs import Config, Grid, grid


def grids(config: Config) -> list[Grid]:
    """The runs of networks that differ in a swept setting, each once; settings by name: a mapping has no order."""
    section = config["sweep"]
    models = list(dict.fromkeys(model for _, names in sorted(section["models"].items()) for model in names))
    return [grid(section, models=models)]


def swept_value(entry: Config, setting: str) -> float | None:
    """The value of a swept setting in an entry of `models`; None where it has none.

    `width` is that of all hidden layers of an MLP, `depth` their number, read off the list `hidden` where the entry has
    one; any other setting is a number in the entry.
    """
    hidden = entry.get("hidden")
    if setting in ("width", "depth") and setting not in entry:
        if not isinstance(hidden, list) or (setting == "width" and len(set(hidden)) != 1):
            return None
        return float(len(hidden) if setting == "depth" else hidden[0])
    value = entry.get(setting)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def values_of(config: Config) -> dict[str, dict[str, float | None]]:
    """Swept setting -> network -> its value of that setting."""
    return {
        setting: {model: swept_value(config["models"][model], setting) for model in models}
        for setting, models in config["sweep"]["models"].items()
    }


def reading(config: Config) -> dict[str, float]:
    """How curves of m-coherence are read, the fields of `mcoherence.tables.curves.Reading` that the study sets."""
    keys = ("first_step", "peak_window", "transient_start", "transient_factor")
    return {key: config["claims"][key] for key in keys if key in config["claims"]}


def check(config: Config) -> None:
    """Check that the networks of a sweep are there and have the swept setting, each another value of it."""
    for setting, models in config["sweep"]["models"].items():
        key = f"sweep.models.{setting}"
        require_entries(key, models, "models", config)
        values: dict[float, str] = {}
        for model in models:
            value = swept_value(config["models"][model], setting)
            if value is None:
                shown = {"width": "hidden layers of one width", "depth": "a list of hidden layers"}
                expected = shown.get(setting, f"a number {setting}")
                raise UserError(f"{key}: found models.{model} without {expected}, expected it there; set it")
            if value in values:
                raise UserError(
                    f"{key}: found {setting} {value:g} in both models.{values[value]} and models.{model}, expected "
                    "another value in each; take one out"
                )
            values[value] = model


EXPERIMENT = Experiment(
    sections=("sweep",),
    schema=section_schema(
        "Exploratory sweeps over one setting of a network, such as the scale of its initial weights, its width or its "
        "depth; no claim of the papers is tested on them.",
        datasets=NAMES,
        models={
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"$ref": "#/$defs/name"},
            "additionalProperties": NAMES,
            "description": "Swept setting -> the networks that differ in it. The setting is width or depth (of the "
            "hidden layers of an MLP) or a key with a number in each of these entries of models, such as init_scale; "
            "its value is read there.",
        },
        labels=NAMES,
        optimizers=NAMES,
        seeds=SEEDS,
    ),
    check=check,
    tables={
        "sweep": Table(
            grids,
            ("evaluation", "coherence", "labels"),
            own=lambda config: {"values": values_of(config), "reading": reading(config)},
        ),
    },
    figures={"sweep": Figure(("sweep",), SWEEPS, "6.1 a setting of the network swept")},
    every_checkpoint="its table has accuracy and coherence of each checkpoint beside each other",
)
