"""Corrupt the training labels of a data set: images.h5 -> labels.h5."""

from pathlib import Path
from typing import Any

from mcoherence.data.corruption import corrupt_labels
from mcoherence.data.store import LABELS_SCHEMA, read_class_names, read_targets
from mcoherence.errors import UserError
from mcoherence.files.hdf5 import write_hdf5
from mcoherence.files.provenance import provenance
from workflow_scripts.command_line import settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Draw the corruption and write the labels with their masks; the true share of changed labels goes to the log."""
    parser = settings_parser(__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    arguments = parser.parse_args()
    original = read_targets(arguments.images, "train")
    names = read_class_names(arguments.images)
    settings = {**arguments.settings, "transition": by_class(arguments.settings.get("transition"), names)}
    labels, selected, changed = corrupt_labels(original, len(names), **settings)
    datasets = {"labels": labels, "original": original, "selected": selected, "changed": changed}
    datasets["test/targets"] = read_targets(arguments.images, "test")
    attributes = provenance(arguments.settings, [arguments.images], code=arguments.code).as_attributes()
    attributes |= {"num_selected": int(selected.sum()), "num_changed": int(changed.sum())}
    write_hdf5(arguments.labels, LABELS_SCHEMA, datasets, attributes)
    print(f"selected {selected.sum()} of {len(labels)} labels, changed {changed.sum()} ({changed.mean():.2%})")


def by_class(transition: Any, class_names: tuple[str, ...]) -> Any:
    """A transition {class name: class name} with classes for names; a matrix or None as it is.

    Raises:
        UserError: a name is not that of a class.
    """
    if not isinstance(transition, dict):
        return transition
    unknown = [name for name in (*transition, *transition.values()) if name not in class_names]
    if unknown:
        raise UserError(
            f"labels: transition: found class {unknown[0]!r}, expected names of this data set's classes "
            f"({', '.join(class_names[:20])})"
        )
    return {class_names.index(source): class_names.index(target) for source, target in transition.items()}


if __name__ == "__main__":
    run(main)
