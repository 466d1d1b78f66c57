"""Which module builds a network, by the name of its architecture.

This module is read when Snakemake parses the workflow, so it imports nothing heavy.
"""

from collections.abc import Mapping
from typing import Any

TORCHVISION = "mcoherence.models.torchvision_networks"
OWN = "mcoherence.models.own_network"
# Networks of this project, each with a module that has a function of the network's name.
NAMED = {
    "mlp": "mcoherence.models.mlp",
    "cnn": "mcoherence.models.cnn",
    "cnn_group_norm": "mcoherence.models.cnn_group_norm",
    "deep_mlp": "mcoherence.models.deep_mlp",
}


def module_of(architecture: str) -> str:
    """The module that builds a network: of this project, of a user's own ("module:function"), else of torchvision."""
    return OWN if ":" in architecture else NAMED.get(architecture, TORCHVISION)


# What the names of torchvision's classifiers without batch norm begin with.
_WITHOUT_BATCH_NORM = ("alexnet", "convnext", "squeezenet", "swin", "vit")


def may_have_batch_norm(settings: Mapping[str, Any]) -> bool:
    """Whether a network of these settings may have batch norm; True where nobody can say, as of a user's own."""
    architecture = settings["architecture"]
    if architecture in ("cnn", "deep_mlp"):
        return bool(settings.get("batch_norm", architecture == "cnn"))
    if architecture.startswith("vgg"):
        return bool(architecture.endswith("_bn"))
    return architecture not in ("mlp", "cnn_group_norm") and not architecture.startswith(_WITHOUT_BATCH_NORM)
