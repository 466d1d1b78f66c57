"""The generalisation bound of arXiv 2203.10036 along the runs of label_noise that plain SGD trains."""

from typing import Any

from mcoherence.optim.methods import METHODS
from mcoherence.study.experiment import TRAINING, Experiment, Figure, Table, section_schema
from mcoherence.study.experiments import label_noise
from mcoherence.study.runs import Config


def bound_settings(config: Config) -> dict[str, Any]:
    """The assumed smoothness, and the rates of those optimisers of label_noise that the bound holds for."""
    names = label_noise.names(config, "optimizers")
    optimizers = {name: config["optimizers"][name] for name in names if _is_plain_sgd(config["optimizers"][name])}
    rates = {
        name: {key: entry[key] for key in ("lr", "schedule") if key in entry} for name, entry in optimizers.items()
    }
    return {**config["bound"], "optimizers": rates}


def _is_plain_sgd(optimizer: Config) -> bool:
    """Whether an optimiser is the one of the bound's proof: gradients of mini-batches alone, from fresh weights."""
    others = any(optimizer.get(key) for key in ("momentum", "weight_decay", "start"))
    return METHODS[optimizer["method"]].plain and not others


EXPERIMENT = Experiment(
    sections=("bound",),
    needs=("label_noise",),
    schema=section_schema(
        "The generalisation bound of arXiv 2203.10036 along the runs of label_noise that plain SGD trains, without the "
        "constants that are not known: qualitative.",
        beta_times_lr={
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 2},
            "minItems": 1,
            "maxItems": 3,
            "uniqueItems": True,
            "default": [0.01, 0.1, 1],
            "description": "Assumed smoothness of the loss times the optimiser's lr; what is concluded must hold for "
            "all of them.",
        },
    ),
    tables={"bound": Table(tables=("coherence", "accuracy"), own=bound_settings)},
    figures={
        "bound": Figure(("bound",), TRAINING, "4.6 bound of the gap between training and test loss (relative)"),
    },
)
