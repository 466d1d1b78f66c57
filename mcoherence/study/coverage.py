"""What the intervals of a study cover, in words: what differs between its seeds, and what all of them share."""

from mcoherence.study.catalogue import all_runs
from mcoherence.study.runs import Config, split_varies


def what_intervals_cover(config: Config) -> str:
    """One or two sentences on what intervals over the seeds of a study cover; "" for a study that trains no networks.

    An interval tells how a number would scatter if everything that differs between seeds were drawn again, and says
    nothing of what all seeds share.

    Args:
        config: of the study, with its defaults.

    Example:
        For the default study: "Intervals are over seeds, which differ in initial weights, order of the examples and
        which labels are corrupted. All seeds share the images of the training and test part and which of them are
        measured, so that intervals do not cover the choice of these."
    """
    runs = all_runs(config)
    if not runs:
        return ""
    differ, shared = ["initial weights", "order of the examples"], []
    noisy = [config["labels"][name] for name in dict.fromkeys(run.labels for run in runs)]
    noisy = [labels for labels in noisy if labels["fraction"] > 0]
    if any("seed" not in labels for labels in noisy):
        differ.append("which labels are corrupted")
    if any("seed" in labels for labels in noisy):
        shared.append(
            "which labels are corrupted" if len(differ) == 2 else "which labels of some label sets are corrupted"
        )
    datasets = dict.fromkeys(run.dataset for run in runs)
    varying = [name for name in datasets if split_varies(config, name)]
    images = "which images are in the training and the test part"
    if varying:
        differ.append(images if len(varying) == len(datasets) else f"{images} of {', '.join(varying)}")
    if fixed := [name for name in datasets if name not in varying]:
        of_sets = f" of {', '.join(fixed)}" if varying else ""
        shared.append(f"the images of the training and the test part{of_sets}")
    by_seed = config["measurement"].get("sample", "fixed") == "by_seed"
    (differ if by_seed else shared).append("which of them are measured")
    said = f"Intervals are over seeds, which differ in {_listed(differ)}."
    if shared:
        said += f" All seeds share {_listed(shared)}, so that intervals do not cover the choice of these."
    return said


def _listed(things: list[str]) -> str:
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
