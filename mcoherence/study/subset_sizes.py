"""How many examples and classes runs train on, as far as the config tells; read when Snakemake parses the workflow."""

from mcoherence.data.subsets import SUBSETS, TRAINED_HALF, split_counts
from mcoherence.study.data_sizes import size_of
from mcoherence.study.runs import Config, Run


def trained_examples(config: Config, run: Run) -> int | None:
    """Examples that a run trains on; None for a folder of images that nobody has counted yet."""
    there = known_size(config, run.dataset, "train")
    if there is None:
        return None
    if run.subset in SUBSETS:
        return split_counts(there, *split_shares(config))[0]
    if run.subset in TRAINED_HALF:
        return there // 2 if TRAINED_HALF[run.subset] == "half_a" else there - there // 2
    return there


def known_size(config: Config, dataset: str, part: str) -> int | None:
    """Examples of the part "train" or "test" of a data set; None for a folder of images that nobody has counted yet."""
    settings = {"size": 32, **config["datasets"][dataset]}  # of images, whose default may not be filled in yet
    size = size_of(settings)
    if not size.exact and settings.get(f"{part}_size") is None:
        return None
    return size.train if part == "train" else size.test


def known_classes(config: Config, dataset: str) -> int | None:
    """Classes of a data set; None for a folder of images that nobody has counted yet."""
    size = size_of({"size": 32, **config["datasets"][dataset]})
    return size.classes if size.exact else None


def split_shares(config: Config) -> tuple[float, float]:
    """The fraction and the test_fraction of the split into easy and hard examples."""
    return config["easy_hard"].get("fraction", 0.5), config["easy_hard"].get("test_fraction", 0.2)
