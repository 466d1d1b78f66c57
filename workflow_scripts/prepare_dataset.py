"""Prepare a data set: source -> images.h5."""

import argparse
from pathlib import Path

from mcoherence.data.folder_listing import keep_listing, listing
from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import Source
from mcoherence.files.canonical import canonical_json
from mcoherence.files.provenance import provenance
from mcoherence.study.code_digest import code_digest
from workflow_scripts.command_line import function_of_module, settings_parser
from workflow_scripts.jobs.entry import run


def main() -> None:
    """Open the source that the settings name and write its prepared store."""
    parser = settings_parser(__doc__)
    parser.add_argument("--module", required=True, help="that reads the source; the command imports it by this name")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--data-folder", type=Path, required=True)
    parser.add_argument("--download", action=argparse.BooleanOptionalAction, required=True)
    parser.add_argument("--threads", type=int, default=1, help="processes that decode images")
    arguments = parser.parse_args()
    open_source = function_of_module(arguments.module, "mcoherence.data", "open_source")
    root = arguments.data_folder / str(arguments.settings.get("root", ""))
    source: Source = open_source(arguments.settings, arguments.data_folder, arguments.download)
    # Once the reader has found nothing to complain of, and before it reads.
    lying_there = listing(root, arguments.threads) if arguments.settings["source"] == "folder" else None
    code = code_digest(arguments.module, Path(__file__).parents[1])
    resume_key = canonical_json([arguments.settings, code])
    origin = provenance(arguments.settings, [], code=arguments.code).as_attributes()
    prepare_images(arguments.images, source, origin, arguments.threads, resume_key)
    if lying_there is not None:
        keep_listing(arguments.images, root, lying_there)
    print(
        f"{len(source.train.targets)} training and {len(source.test.targets)} test images of "
        f"{len(source.class_names)} classes"
    )


if __name__ == "__main__":
    run(main)
