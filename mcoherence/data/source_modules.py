"""The modules that read image sources, by the name of the source.

They are imported by these names, so that the rule which prepares a data set depends on that source's code alone. This
module is read when Snakemake parses the workflow, so it imports nothing.
"""

SOURCES = {
    "digits": "mcoherence.data.digits",
    "glyphs": "mcoherence.data.glyphs",
    "mnist": "mcoherence.data.torchvision_sets",
    "fashion_mnist": "mcoherence.data.torchvision_sets",
    "kmnist": "mcoherence.data.torchvision_sets",
    "cifar10": "mcoherence.data.torchvision_sets",
    "cifar100": "mcoherence.data.torchvision_sets",
    "folder": "mcoherence.data.image_folder",
}
OWN = "mcoherence.data.own_source"
# Sources whose images are made one by one, by as many worker processes as the job has threads.
DECODED_SOURCES = ("glyphs", "folder")


def module_of_source(source: str) -> str:
    """The module that reads a source: its own, or that of data sets of a user's own ("module:function").

    Raises:
        KeyError: there is no such source.
    """
    return OWN if ":" in source else SOURCES[source]
