"""What pristine and corrupt examples contribute to the gradient, in the partly random runs of label_noise."""

from mcoherence.errors import UserError
from mcoherence.study.experiment import PRISTINE_AND_CORRUPT, Experiment, Figure, Table, require_entries, section_schema
from mcoherence.study.experiments import label_noise
from mcoherence.study.runs import Config, Grid


def has_corrupt_examples(config: Config, labels: str) -> bool:
    """Whether a label set has both pristine and corrupt examples."""
    return bool(0 < config["labels"][labels]["fraction"] < 1)


def grids(config: Config) -> list[Grid]:
    """The combinations of label_noise, `further` ones too, with those of their label sets that have both."""
    wanted = config["contributions"].get("optimizers", [])
    found = [
        {
            **one,
            "labels": [name for name in one["labels"] if has_corrupt_examples(config, name)],
            "optimizers": [name for name in one["optimizers"] if not wanted or name in wanted],
        }
        for one in label_noise.grids(config)
    ]
    return [one for one in found if one["labels"] and one["optimizers"]]


def check(config: Config) -> None:
    """Check that there are such runs, and what label_noise checks of its section."""
    label_noise.check(config)
    require_entries("contributions.optimizers", config["contributions"].get("optimizers", []), "optimizers", config)
    if not grids(config):
        raise UserError(
            f"label_noise.labels: found {label_noise.names(config, 'labels')}, expected one with a fraction between 0 "
            "and 1, trained by one of its optimizers, for contributions; add one, or take that out of experiments"
        )


EXPERIMENT = Experiment(
    sections=("contributions", "label_noise"),
    schema=section_schema(
        "What pristine and corrupt examples contribute to the gradient, in the partly random runs of label_noise.",
        optimizers={
            "type": "array",
            "items": {"type": "string"},
            "uniqueItems": True,
            "default": [],
            "description": "Entries of optimizers whose runs are measured, as far as there are any; [] is all of them.",
        },
        null_worlds={
            "type": "integer",
            "minimum": 1,
            "maximum": 5,
            "default": 2,
            "description": "Worlds in which the tags pristine and corrupt are shuffled among the same examples; w of "
            "them take 2^(w + 1) groups of gradient sums in memory.",
        },
    ),
    check=check,
    tables={"contributions": Table(grids, ("contributions",))},
    figures={"contributions": Figure(("contributions",), PRISTINE_AND_CORRUPT, "3.3 contributions to the gradient")},
)
