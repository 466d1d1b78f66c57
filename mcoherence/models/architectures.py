"""Which module builds a network, by the name of its architecture.

This module is read when Snakemake parses the workflow, so it imports nothing.
"""

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
