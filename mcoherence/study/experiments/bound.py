"""The generalisation bound of arXiv 2203.10036 along the runs of label_noise that plain SGD trains."""

from mcoherence.study.experiment import TRAINING, Experiment, Figure, Table, section_schema

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
    tables={"bound": Table(rule="calculate_bound")},
    figures={
        "bound": Figure(("bound",), TRAINING, "4.6 bound of the gap between training and test loss (relative)"),
    },
)
