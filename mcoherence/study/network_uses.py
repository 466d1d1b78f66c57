"""How a study uses a network, for the check that comes before its training."""

from typing import Any

from mcoherence.data.image_shapes import image_shape
from mcoherence.study.catalogue import results_of
from mcoherence.study.results import batch_norm_of, result
from mcoherence.study.runs import Config
from mcoherence.study.settings import model_settings, optimizer_settings, training_of
from mcoherence.study.subset_sizes import known_classes

OPERATIONAL = True  # no number depends on it; docs/reruns.md

ANY = "any"  # method of networks of this project and of torchvision, which all methods take


def method_that_counts(config: Config, model: str, optimizer: str) -> str:
    """The method by which a network is trained, where that may not take it: a user's own can be anything."""
    own = ":" in config["models"][model]["architecture"]
    return str(config["optimizers"][optimizer]["method"]) if own else ANY


def checked_network(config: Config, dataset: str, model: str) -> dict[str, Any]:
    """What is checked: name, settings, shape (C, H, W) and number of classes, None where the data alone tell it.

    All training of the network on that data set depends on these too.
    """
    return {
        "name": model,
        "settings": model_settings(config, model),
        "shape": list(image_shape({"size": 32, **config["datasets"][dataset]})),
        "classes": known_classes(config, dataset),
    }


def network_use(config: Config, dataset: str, model: str, method: str) -> dict[str, Any]:
    """What is checked, and what is done with it, as `audit.network_checks.NetworkUse` takes it.

    Of what is done no training depends on the measurement, so the check's file has a digest of its own of this.
    """
    optimizers = [name for name in config["optimizers"] if config["optimizers"][name]["method"] == method]
    optimizer = optimizers[0] if optimizers else next(iter(config["optimizers"]))
    return {
        **checked_network(config, dataset, model),
        "optimizer": optimizer_settings(config, optimizer, model) if optimizers else None,
        "trained": training_of(config, dataset, model, optimizer).get("precision", "float32"),
        "measured": config["measurement"].get("precision", "float64") if _is_measured(config, dataset, model) else None,
    }


def needs_classes(config: Config, dataset: str, model: str) -> bool:
    """Whether a network of a user's own is trained on data that alone tell how many classes there are."""
    return ":" in config["models"][model]["architecture"] and known_classes(config, dataset) is None


def _is_measured(config: Config, dataset: str, model: str) -> bool:
    """Whether gradients of single examples are taken; with the statistics of mini-batches they need not be had."""
    return any(
        (run.dataset, run.model) == (dataset, model) and batch_norm_of(config, run) in ("running", "none")
        for name, made in results_of(config).items()
        if result(name).groups(config)
        for run in made
    )
