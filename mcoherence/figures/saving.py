"""Figures as files: PNG and PDF, equal bytes for equal figures, which say what they were drawn from."""

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from mcoherence.errors import UserError
from mcoherence.figures.style import theme
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.files.provenance import digest_of


def save_figure(figure: Figure, png: Path, pdf: Path, dpi: int, sources: Sequence[Path] = ()) -> None:
    """Write a figure as PNG and PDF, atomically; equal figures of equal sources give equal bytes.

    Args:
        figure: what to save.
        png: where to, for the screen and the report.
        pdf: where to, for print.
        dpi: dots per inch of the PNG.
        sources: the files that it was drawn from; their digests are in the metadata of both, as JSON.
    """
    drawn_from = canonical_json({str(path): digest_of(path) for path in sources})
    with theme():  # ticks are made while drawing and take their sizes from the settings in force then
        # Place the panels once: each placing starts from the last and would differ from it by rounding.
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # "none" would leave a placeholder, for which every saving draws twice
        with atomic_path(png) as temporary:
            figure.savefig(temporary, format="png", dpi=dpi, metadata={"Source": drawn_from})
        with atomic_path(pdf) as temporary:
            figure.savefig(temporary, format="pdf", metadata={"CreationDate": None, "Subject": drawn_from})


def read_sources(png: Path) -> dict[str, str]:
    """What a PNG says that it was drawn from: path -> digest. UserError if it is missing, damaged or says nothing."""
    try:
        with Image.open(png, formats=("PNG",)) as image:
            return {str(path): str(digest) for path, digest in json.loads(image.info["Source"]).items()}
    except (OSError, UnidentifiedImageError, KeyError, ValueError) as error:
        wrong = f"{png}: missing, damaged or no figure of this study ({error!r})"
        raise UserError(f"{wrong}; delete it and run again") from error
