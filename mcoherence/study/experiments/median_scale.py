"""Do medians of gradients prevent memorisation or delay it, and does it depend on the examples of a class in a group?

Each optimiser is trained with each size of mini-batch at several rates, on labels that are random in part. The rate of
an optimiser, network, data set and batch size is chosen on seeds that take no part in what is reported: in the table,
not by a stage of the workflow. So all rates are trained with all seeds: of four rates, three seeds and one that
chooses, 2.3 times as many runs as with a choice before them. In return no run hangs on the choice, another rule of
choice makes one table again and trains nothing, and what other rates would have given stands in the table too.
"""

from collections.abc import Iterator
from typing import Any

from mcoherence.errors import UserError
from mcoherence.optim.methods import METHODS
from mcoherence.study.experiment import NAMES, SEEDS, TRAINING, Experiment, Figure, Table, one_name, section_schema
from mcoherence.study.runs import Config, Grid, grid


def name_of(optimizer: str, batch_size: int, rate: int) -> str:
    """The name of the entry of optimizers that is made of one for a batch size and the number of a rate."""
    return f"{optimizer}_batch{batch_size}_rate{rate}"


def combinations(config: Config) -> Iterator[tuple[str, Config, int, float]]:
    """(optimiser, entry of `batches`, number of the rate, factor of the optimiser's lr) of every entry that is made."""
    section = config["median_scale"]
    for batch in section["batches"]:
        for optimizer in section["optimizers"]:
            if optimizer not in batch.get("without", []):
                for number, factor in enumerate(section["rates"]):
                    yield optimizer, batch, number, factor * batch.get("lr_factor", 1.0)


def entries_made(config: Config) -> dict[str, dict[str, Any]]:
    """The entries of optimizers, and of training.for_optimizers, that the section makes of those it names."""
    optimizers: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for optimizer, batch, number, factor in combinations(config):
        name = name_of(optimizer, batch["batch_size"], number)
        entry = config["optimizers"][optimizer]
        optimizers[name] = {**entry, "lr": entry["lr"] * factor}
        training[name] = {key: batch[key] for key in ("batch_size", "updates")}
    return {"optimizers": optimizers, "for_optimizers": training}


def grids(config: Config) -> list[Grid]:
    """The runs of all entries that are made, with the seeds of the choice and those that are reported."""
    section = config["median_scale"]
    optimizers = [name_of(name, batch["batch_size"], number) for name, batch, number, _ in combinations(config)]
    return [grid(section, optimizers=optimizers, seeds=[*section["tuning_seeds"], *section["seeds"]])]


def own(config: Config) -> dict[str, Any]:
    """What the table says of each entry that is made, on which seeds rates are chosen, and what is compared with."""
    entries = {}
    for name, batch, number, factor in combinations(config):
        settings = config["optimizers"][name]
        method = METHODS[settings["method"]]
        size = batch["batch_size"]
        entries[name_of(name, size, number)] = {
            "method": name,
            "batch_size": size,
            "rate": factor,
            "group_size": 1 if method.clips else size / method.groups(settings),
        }
    section = config["median_scale"]
    return {
        "entries": entries,
        "tuning_seeds": list(section["tuning_seeds"]),
        "reference": section["reference_optimizer"],
        "fit": config["claims"]["equal_fit"],  # the level of statement E12 too
    }


def check(config: Config) -> None:
    """Check that labels are random in part, the reference is trained, no seed chooses and is reported, names exist."""
    section = config["median_scale"]
    fraction = config["labels"].get(section["labels"], {}).get("fraction", 0.5)  # a name of no entry is refused as such
    if not 0 < fraction < 1:
        raise UserError(
            f"median_scale.labels: found {section['labels']!r}, a label set of fraction {fraction:g}, expected one "
            "that is random in part, with pristine and corrupt examples; name one with a fraction between 0 and 1"
        )
    if section["reference_optimizer"] not in section["optimizers"]:
        raise UserError(
            f"median_scale.reference_optimizer: found {section['reference_optimizer']!r}, expected one of "
            f"median_scale.optimizers ({', '.join(section['optimizers'])})"
        )
    both = sorted(set(section["tuning_seeds"]) & set(section["seeds"]))
    if both:
        raise UserError(
            f"median_scale.tuning_seeds: found {both[0]}, which is one of seeds too, expected seeds that are not "
            "reported; choose another"
        )
    sizes = [batch["batch_size"] for batch in section["batches"]]
    if len(set(sizes)) < len(sizes):
        raise UserError(f"median_scale.batches: found batch sizes {sizes}, expected each once; take one out")
    for number, batch in enumerate(section["batches"]):
        for name in batch.get("without", []):
            if name not in section["optimizers"] or name == section["reference_optimizer"]:
                raise UserError(
                    f"median_scale.batches.{number}.without: found {name!r}, expected some of median_scale.optimizers, "
                    "and not the reference"
                )


EXPERIMENT = Experiment(
    sections=("median_scale",),
    schema=section_schema(
        "The experiment on medians against the number of examples of a class in a group: every optimiser with every "
        "size of mini-batch at every rate. It makes entries of optimizers for them, such as m3_batch15_rate0.",
        datasets=NAMES,
        models=NAMES,
        labels=one_name("Label set of the runs, random in part."),
        optimizers=NAMES,
        reference_optimizer=one_name("That of optimizers which all others are compared with: SGD."),
        rates={
            "type": "array",
            "items": {"type": "number", "exclusiveMinimum": 0},
            "minItems": 1,
            "uniqueItems": True,
            "default": [0.1111111111111111, 0.3333333333333333, 1, 3],
            "description": "Factors of the lr of each optimiser's entry; the one that soonest reaches an accuracy of "
            "0.9 on pristine examples is chosen for it, by network, data set and batch size, on the tuning seeds.",
        },
        batches={
            "type": "array",
            "minItems": 1,
            "description": "Sizes of mini-batches, with the number of updates of their runs.",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["batch_size", "updates"],
                "properties": {
                    "batch_size": {"type": "integer", "minimum": 1, "maximum": 1000000},
                    "updates": {"type": "integer", "minimum": 1, "maximum": 100000000},
                    "lr_factor": {
                        "type": "number",
                        "exclusiveMinimum": 0,
                        "default": 1,
                        "description": "Factor of all rates with this size: small mini-batches want lower rates.",
                    },
                    "without": {"$ref": NAMES["$ref"], "description": "Optimisers that are not trained with it."},
                },
            },
        },
        tuning_seeds=SEEDS,
        seeds=SEEDS,
    ),
    check=check,
    makes=entries_made,
    tables={
        "median_scale": Table(grids, ("evaluation", "labels", "images"), own=own),
    },
    figures={
        "median_scale": Figure(("median_scale",), TRAINING, "4.8 medians, by examples of a class in a group"),
    },
    every_checkpoint="rates are chosen by the checkpoint at which an accuracy is first reached",
)
