"""Where the files of a study lie that belong to a data set or to a network on it, below the study's folder `results`.

Those of a run, and its labels, are found by `mcoherence.study.runs.Run`. A name can be a wildcard of a rule as well.
"""


def images(results: str, dataset: str) -> str:
    """The prepared images of a data set."""
    return f"{results}/data/{dataset}/images.h5"


def halves(results: str, dataset: str) -> str:
    """The halves of its training part, for second-split forgetting."""
    return f"{results}/splits/{dataset}/halves.h5"


def difficulty(results: str, dataset: str, model: str) -> str:
    """How hard each training example is for a network."""
    return f"{results}/difficulty/{dataset}/{model}/difficulty.h5"


def split(results: str, dataset: str, model: str) -> str:
    """Which examples are easy, hard and random for a network."""
    return f"{results}/splits/{dataset}/{model}/split.h5"
