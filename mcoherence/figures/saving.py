"""Figures as files: PNG and PDF, equal bytes for equal figures, which say what they were drawn from.

The PNG says which figure it is and holds the digest of the PDF and, in its last text, a seal of its own bytes.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from mcoherence.errors import UserError
from mcoherence.figures.style import theme
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import sha256_of
from mcoherence.files.provenance import digest_of

END_BYTES = 12  # of the last chunk of a PNG, IEND, which is empty
SEAL_BYTES = 12 + len(b"Seal\0") + 64


def save_figure(figure: Figure, png: Path, pdf: Path, dpi: int, sources: Sequence[Path] = ()) -> None:
    """Write a figure as PNG and PDF, atomically; equal figures of equal sources give equal bytes.

    Args:
        figure: what to save.
        png: where to, for the screen and the report; the name of the file is the name of the figure.
        pdf: where to, for print.
        dpi: dots per inch of the PNG.
        sources: the files that it was drawn from; their digests are in the metadata of both, as JSON.
    """
    drawn_from = canonical_json({str(path): digest_of(path) for path in sources})
    with theme():  # ticks are made while drawing and take their sizes from the settings in force then
        # Place the panels once: each placing starts from the last and would differ from it by rounding.
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # "none" would leave a placeholder, for which every saving draws twice
        with atomic_path(pdf) as temporary:
            figure.savefig(temporary, format="pdf", metadata={"CreationDate": None, "Subject": drawn_from})
        said = {"Source": drawn_from, "Figure": png.stem, "PDF": sha256_of(pdf)}
        with atomic_path(png) as temporary:
            figure.savefig(temporary, format="png", dpi=dpi, metadata=said)
            content = temporary.read_bytes()
            temporary.write_bytes(content[:-END_BYTES] + _seal_of(content) + content[-END_BYTES:])


def _seal_of(content: bytes) -> bytes:
    """The chunk of text that seals a PNG without one."""
    text = b"tEXtSeal\0" + hashlib.sha256(content).hexdigest().encode()
    return (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")


def read_sources(png: Path) -> dict[str, str]:
    """What a figure says that it was drawn from: path -> digest.

    Raises:
        UserError: the PNG is missing or was changed, it says nothing, or it is another figure than its name says.
    """
    return {str(path): str(digest) for path, digest in json.loads(_read(png)["Source"]).items()}


def check_figure(png: Path, pdf: Path) -> dict[str, str]:
    """Check that both forms of a figure are as they were drawn; returns what `read_sources` does.

    Raises:
        UserError: one line about the form that is missing or was changed, with the command that makes it again.
    """
    said = _read(png)
    try:
        found = sha256_of(pdf)
    except OSError as error:
        raise UserError(f"{pdf}: missing or unreadable ({error.strerror}); {_remedy(png)}") from error
    if found != said["PDF"]:
        raise UserError(f"{pdf}: changed since it was drawn, expected the one that {png.name} names; {_remedy(png)}")
    return read_sources(png)


def _read(png: Path) -> dict[str, str]:
    """The texts of a figure, once its bytes and its name are what they say."""
    try:
        content = png.read_bytes()
        end = len(content) - END_BYTES
        unsealed = content[: end - SEAL_BYTES] + content[end:]
        if content[end - SEAL_BYTES : end] != _seal_of(unsealed):
            raise ValueError("its bytes and its seal differ, or it has none")
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            said = {str(key): str(value) for key, value in image.info.items()}
        if said["Figure"] != png.stem:
            raise ValueError(f"it is the figure {said['Figure']}")
        if not isinstance(json.loads(said["Source"]), dict) or "PDF" not in said:
            raise ValueError("it does not say what it was drawn from")
    except (OSError, UnidentifiedImageError, SyntaxError, KeyError, ValueError) as error:
        wrong = f"{png}: missing, damaged or no figure of this study ({error})"
        raise UserError(f"{wrong}; {_remedy(png)}") from error
    return said


def _remedy(png: Path) -> str:
    return f"make it again: snakemake --cores all --forcerun draw_{png.stem}"
