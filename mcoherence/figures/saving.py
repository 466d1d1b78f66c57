"""Figures as files: PNG and PDF, equal bytes for equal figures, which say what they were drawn from, and by what.

The PNG says which figure it is and holds the digest of the PDF and a seal of its own bytes, see `files.pictures`.
"""

import os
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends import backend_agg, backend_pdf  # noqa: F401  (once for all jobs that are copies: 0.1 s each)
from matplotlib.figure import Figure

from mcoherence.figures.style import theme
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import sha256_of
from mcoherence.files.pictures import FIGURE, PDF, sealed_picture
from mcoherence.files.provenance import Provenance


def save_figure(
    figure: Figure,
    png: str | os.PathLike[str],
    pdf: str | os.PathLike[str],
    dpi: int,
    origin: Provenance | None = None,
) -> None:
    """Write a figure as PNG and PDF, atomically; equal figures of equal origin give equal bytes.

    Args:
        figure: what to save.
        png: where to, for the screen and the report; the name of the file is the name of the figure.
        pdf: where to, for print.
        dpi: dots per inch of the PNG.
        origin: what it was drawn by and from; it is in the metadata of both, as JSON.
    """
    png, pdf = Path(png), Path(pdf)
    metadata = {} if origin is None else {"Provenance": canonical_json(origin.as_attributes())}
    subject = metadata.get("Provenance")
    with theme():  # ticks are made while drawing and take their sizes from the settings in force then
        # Place the panels once: each placing starts from the last and would differ from it by rounding.
        figure.set_dpi(dpi)  # letters are wider where dots are few
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # "none" would leave a placeholder, for which every saving draws twice
        with atomic_path(pdf) as temporary:
            temporary.write_bytes(_rendered(figure, format="pdf", metadata={"CreationDate": None, "Subject": subject}))
        said = metadata | {FIGURE: png.stem, PDF: sha256_of(pdf)}
        with atomic_path(png) as temporary:
            temporary.write_bytes(sealed_picture(_rendered(figure, format="png", dpi=dpi, metadata=said)))


def _rendered(figure: Figure, **options: Any) -> bytes:
    """What `savefig` writes with these options; in memory, for on a full disk matplotlib fails by another error."""
    written = BytesIO()
    figure.savefig(written, **options)
    return written.getvalue()
