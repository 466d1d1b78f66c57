"""The update rules that a study can train with: one entry says of each what the rest of the project asks about it.

An entry says what a method is; how it steps is in the file of its name beside this one. To add a method, write that
file and an entry, and run `make schema`, which brings the config's schema and the documentation up to date.

This module is read when Snakemake parses the workflow, so it imports nothing heavy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcoherence.optim.nearest_rank import nearest_rank

OTHER_SPELLINGS = {"winsorised": "winsorized"}  # of methods, which a config may have
Settings = Mapping[str, Any]  # of an optimiser, an entry of `optimizers` in the config
JsonSchema = Mapping[str, Any]


def nothing_held(_: Settings, __: int) -> int:
    """No gradient besides the one of the backward pass."""
    return 0


def held_by_winsorized(settings: Settings, batch_size: int) -> int:
    """Of each end as many as are clipped and the next, or all there are; see `winsorized.WinsorizedMean`."""
    return min(batch_size, 2 * (nearest_rank(settings["c"], batch_size) + 1))


@dataclass(frozen=True)
class Method:
    """What a study needs to know of an update rule.

    Where it is: optimizer: the name of its class, in the file of the method's name; words: what it is, in a few words;
    source: where it comes from.

    Its settings: settings: JSON schema of each key of its own, beside those that every method has (lr, weight_decay,
    schedule, for_models, start); required: those of them without a default; has_momentum: whether it has the keys
    momentum and nesterov; allows_momentum: whether it takes them without `allow_momentum`.

    An update of it: gathers: the setting that says how many mini-batches make one, None for one; splits: the setting
    that says into how many groups, each with a pass of its own, a mini-batch is split, None for one; one_rank: whether
    one process must have all examples.

    Its cost: kept: tensors as large as the weights that it keeps between updates, momentum not counted; held:
    (settings, batch size) -> gradients that it holds during an update beside the one of the backward pass;
    chunk_bytes: what the gradients of single examples take at a time; cost: kind of network -> time of an update in
    plain passes over the same examples, 1 where nothing is said.

    What the study makes of it: plain: whether it steps along the mean gradient of one mini-batch and nothing else,
    momentum and weight decay apart; clips: the setting that says how far the gradients of single examples are clipped,
    0 for plain SGD; suppresses: whether it is meant to keep back what the gradients of few examples have in common;
    robust: whether its paper says that it does not memorise random labels, whatever its settings.
    """

    optimizer: str
    words: str
    source: str
    settings: Mapping[str, JsonSchema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    has_momentum: bool = True
    allows_momentum: bool = True
    gathers: str | None = None
    splits: str | None = None
    one_rank: bool = False
    kept: int = 0
    held: Callable[[Settings, int], int] = nothing_held
    chunk_bytes: int = 0
    cost: Mapping[str, float] = field(default_factory=dict)
    plain: bool = False
    clips: str | None = None
    suppresses: bool = False
    robust: bool = False

    def mini_batches(self, settings: Settings) -> int:
        """Mini-batches that make one update."""
        return self._count(settings, self.gathers)

    def groups(self, settings: Settings) -> int:
        """Groups that each mini-batch is split into."""
        return self._count(settings, self.splits)

    def kept_gradients(self, settings: Settings) -> int:
        """Tensors as large as the weights that are kept between updates, a momentum among them where it is set."""
        return self.kept + bool(settings.get("momentum"))

    def _count(self, settings: Settings, key: str | None) -> int:
        return 1 if key is None else int(settings.get(key, self.settings[key]["default"]))


def odd_number(description: str) -> JsonSchema:
    """Schema of a number of gradients that have one in the middle; 3 in the paper."""
    return {"type": "integer", "minimum": 3, "not": {"multipleOf": 2}, "default": 3, "description": description}


BETA: JsonSchema = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
ADAM: Mapping[str, JsonSchema] = {
    "betas": {
        "type": "array",
        "items": BETA,
        "minItems": 2,
        "maxItems": 2,
        "default": [0.9, 0.999],
        "description": "Decay rates of the running means of the gradient and of its square.",
    },
    "eps": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1e38,
        "default": 1e-8,
        "description": "Added to the root of the mean square.",
    },
}

METHODS: Mapping[str, Method] = {
    "sgd": Method(
        optimizer="SGD",
        words="SGD on the mean gradient of a mini-batch",
        source="`torch.optim.SGD`",
        plain=True,
    ),
    "m3": Method(
        optimizer="M3",
        words="the coordinate-wise median of the mean gradients of the groups of a mini-batch",
        source="arXiv 2003.07422",
        settings={"groups": odd_number("Groups that a mini-batch is split into; odd.")},
        allows_momentum=False,
        splits="groups",
        held=lambda settings, _: settings["groups"] - 1,
        suppresses=True,
        robust=True,
    ),
    "m3_successive": Method(
        optimizer="SuccessiveM3",
        words="m3 of the authors' code, on successive mini-batches",
        source="arXiv 2003.07422, released code",
        settings={"groups": odd_number("Successive mini-batches of one update, at the same weights; odd.")},
        allows_momentum=False,
        gathers="groups",
        held=lambda settings, _: settings["groups"] - 1,
        suppresses=True,
        robust=True,
    ),
    "rm3": Method(
        optimizer="RM3",
        words="the coordinate-wise median of the current and the previous two mini-batch gradients",
        source="arXiv 2003.07422",
        allows_momentum=False,
        kept=2,
        suppresses=True,
        robust=True,
    ),
    "ra3": Method(
        optimizer="RA3",
        words="the control of rm3, a mean in place of the median",
        source="arXiv 2003.07422, released code",
        allows_momentum=False,
        kept=2,
    ),
    "winsorized": Method(
        optimizer="WinsorizedSGD",
        words="the mean of per-example gradients, extremes clipped coordinate by coordinate",
        source="arXiv 2002.10657",
        settings={
            "c": {
                "type": "number",
                "minimum": 0,
                "maximum": 50,
                "description": "Percentile of either end of the per-example gradients that is clipped; 0 is SGD, 50 "
                "the median.",
            }
        },
        required=("c",),
        one_rank=True,
        held=held_by_winsorized,
        chunk_bytes=4 * 2**26,  # winsorized.GRADIENT_ENTRIES in float32
        cost={"mlp": 20, "convolutional": 4},  # benchmarks/winsorized.py
        clips="c",
        suppresses=True,
    ),
    "gradient_agreement": Method(
        optimizer="GradientAgreement",
        words="gradient agreement filtering, the mean of those groups' gradients that point the same way",
        source="arXiv 2412.18052, released code",
        settings={
            "groups": {
                "type": "integer",
                "minimum": 2,
                "default": 2,
                "description": "Groups that a mini-batch is split into.",
            },
            "threshold": {
                "type": "number",
                "minimum": 0,
                "maximum": 2,
                "default": 0.97,
                "description": "Greatest cosine distance, 1 - cos, at which the gradient of a group joins the mean of "
                "those before it; where none does, the update changes nothing.",
            },
        },
        splits="groups",
        held=lambda *_: 1,
        suppresses=True,
    ),
    "sgd_m3_norm": Method(
        optimizer="SGDWithM3Norm",
        words="a control of m3, SGD with steps as long as m3's",
        source="this project",
        settings={"groups": odd_number("Groups that a mini-batch is split into; odd.")},
        allows_momentum=False,
        splits="groups",
        held=lambda settings, _: settings["groups"],
    ),
    "sgd_clipped": Method(
        optimizer="ClippedSGD",
        words="SGD whose gradient is cut down to a greatest norm",
        source="arXiv 1211.5063",
        settings={
            "max_norm": {
                "type": "number",
                "exclusiveMinimum": 0,
                "default": 1.0,
                "description": "Greatest norm of the gradient, over all parameters.",
            }
        },
    ),
    "adam": Method(
        optimizer="Adam",
        words="Adam on the mean gradient of a mini-batch",
        source="arXiv 1412.6980, `torch.optim.Adam`",
        settings=ADAM,
        has_momentum=False,
        kept=2,
    ),
    "adamw": Method(
        optimizer="AdamW",
        words="Adam with decoupled weight decay",
        source="arXiv 1711.05101, `torch.optim.AdamW`",
        settings={
            **ADAM,
            "weight_decay": {
                "type": "number",
                "minimum": 0,
                "default": 0.01,
                "description": "Decoupled: the weights shrink by lr times this in every update, whatever the gradients "
                "do.",
            },
        },
        has_momentum=False,
        kept=2,
    ),
}
