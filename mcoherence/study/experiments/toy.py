"""The illustrative example of arXiv 2203.10036: gradient descent on two regressions in six dimensions."""

from typing import Any

from mcoherence.study.experiment import COHERENCE, Experiment, Figure, Table, section_schema
from mcoherence.study.runs import Config
from mcoherence.study.segments import checkpoint_schedule


def toy_settings(config: Config) -> dict[str, Any]:
    """The rate of the descent, and the steps that the table has: those of the schedule and the last one."""
    toy = config["toy"]
    steps = checkpoint_schedule(toy["steps"], **toy["checkpoints"])
    return {"lr": toy["lr"], "checkpoint_steps": sorted({*steps, toy["steps"]})}


EXPERIMENT = Experiment(
    sections=("toy",),
    schema=section_schema(
        "The illustrative example of arXiv 2203.10036: gradient descent on two regressions in six dimensions. The "
        "paper's rate and number of steps are not known.",
        lr={
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1.6,
            "default": 0.1,
            "description": "Learning rate, on the mean of the losses (y - w.x)^2 / 2; from 1.6 on descent on the real "
            "data diverges.",
        },
        steps={
            "type": "integer",
            "minimum": 1,
            "maximum": 10_000_000,
            "default": 2000,
            "description": "Steps of gradient descent; by default enough for both to converge to the last digits of "
            "float64.",
        },
        checkpoints={
            "type": "object",
            "additionalProperties": False,
            "default": {},
            "description": "Which steps the table has, besides the last one.",
            "properties": {
                "every_step_until": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": 10_000,
                    "default": 8,
                    "description": "Step 0 and every step up to this one.",
                },
                "per_doubling": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 1_000,
                    "default": 4,
                    "description": "After that, so many per doubling of the step, evenly spaced on a log axis.",
                },
            },
        },
    ),
    tables={"toy": Table(own=toy_settings)},
    figures={"toy_regression": Figure(("toy",), COHERENCE, "2.5 an example in six dimensions")},
)
