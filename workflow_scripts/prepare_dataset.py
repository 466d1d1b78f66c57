"""Prepare a data set: source -> images.h5."""

from pathlib import Path

from mcoherence.data.preparation import prepare_images
from mcoherence.data.source_modules import SOURCES
from mcoherence.data.sources import open_source
from mcoherence.files.canonical import canonical_json
from mcoherence.files.provenance import provenance
from mcoherence.study.code_digest import code_digest
from workflow_scripts.command_line import parse
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Open the source that the settings name and write its prepared store."""
    arguments = parse(__doc__, paths=["images", "data_folder"], switches=["download"])
    source = open_source(arguments.settings, arguments.data_folder, arguments.download)
    code = code_digest(SOURCES[arguments.settings["source"]], Path(__file__).parents[1])
    resume_key = canonical_json([arguments.settings, code])
    prepare_images(arguments.images, source, provenance(arguments.settings, []), arguments.threads, resume_key)
    print(
        f"{len(source.train.targets)} training and {len(source.test.targets)} test images of "
        f"{len(source.class_names)} classes"
    )


if __name__ == "__main__":
    run(main)
