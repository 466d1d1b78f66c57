"""Image files as RGB pixels of 8 bits: which formats and kinds of pixels are read, how, and which are refused.

Pillow converts most kinds of pixels as it should. Some it clips or mistakes without a word; those are scaled here from
the range that their file states, or refused where it states none. docs/data.md lists them all.
"""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcoherence.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

# Pillow picks the reader by content, whatever the name says; others of its readers start programs (EPS) or are obscure.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM")
LARGEST = 178_956_970  # pixels; what Pillow takes for a decompression bomb
BACKGROUND = (255, 255, 255, 255)  # that transparent images are laid on
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO, SIGNED = 0, 2


def open_rgb(path: str) -> "Image.Image":
    """The image of a file, its first where it holds several, as RGB of 8 bits, upright.

    An orientation in the EXIF data is applied, as image viewers do. 16 and 12 bits become 8 by leaving the lower ones
    out. A transparent image is laid on white, so that colours nobody sees do not come in.

    Raises:
        UserError: the file is in no format that is read, its pixels are of a kind without a stated range, or it has too
            many of them.
        Exception: what Pillow raises where the file is damaged.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # at half of what is refused
        try:
            # From memory: where Pillow maps a file of plain pixels, it turns a TIFF that lies on its side wrongly.
            opened = Image.open(io.BytesIO(Path(path).read_bytes()), formats=FORMATS)
        except UnidentifiedImageError as error:
            raise UserError(f"found no image that can be read, expected one of {', '.join(FORMATS)}") from error
        except Image.DecompressionBombError as error:
            raise UserError(f"found more than {LARGEST} pixels, expected at most these; resize it") from error
    with opened:
        _require_stated_maximum(opened, path)
        _scale_transparent_value(opened)
        return _on_background(_in_8_bits(ImageOps.exif_transpose(opened), opened))


def _require_stated_maximum(opened: "Image.Image", path: str) -> None:
    """UserError where a PGM or PPM file has values above the maximum that it states, which Pillow would make white."""
    from PIL.ImageFile import ImageFile

    if not isinstance(opened, ImageFile) or opened.format != "PPM" or opened.tile[0].codec_name != "ppm":
        return
    arguments: Any = opened.tile[0].args
    maximum, count = int(arguments[1]), opened.width * opened.height * len(opened.getbands())
    kind = np.dtype(np.uint8 if maximum < 256 else ">u2")
    values = np.fromfile(path, dtype=kind, count=count, offset=opened.tile[0].offset)
    if values.size and values.max() > maximum:
        raise UserError(f"found value {values.max()}, expected at most {maximum}, the maximum that the file states")


def _scale_transparent_value(opened: "Image.Image") -> None:
    """Bring the value that a PNG calls transparent to the range of its pixels, which Pillow widens to 8 bits."""
    from PIL.ImageFile import ImageFile

    depth = (
        str(opened.tile[0].args)
        if isinstance(opened, ImageFile) and opened.format == "PNG" and "transparency" in opened.info
        else ""
    )
    if depth in ("L;2", "L;4"):
        opened.info["transparency"] *= 255 // (2 ** int(depth[-1]) - 1)
    if depth == "RGB;16B":
        raise UserError(
            "found a transparent colour among colours of 16 bits, which 8 bits do not tell apart, expected none or an "
            "alpha channel; convert it"
        )


def _in_8_bits(image: "Image.Image", opened: "Image.Image") -> "Image.Image":
    """The image with channels of 8 bits; `opened` is the file that it comes from."""
    from PIL import Image

    tags = getattr(opened, "tag_v2", {})
    if SIGNED in np.atleast_1d(tags.get(SAMPLE_FORMAT, 1)):
        raise _unstated("signed integers")
    if image.mode == "F":
        raise _unstated("floating-point numbers")
    if image.mode == "I" and opened.format != "PPM":
        raise _unstated("integers of 32 bits")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    # Pillow itself brings the range of a PPM file to 0..65535. In a TIFF the range is that of the bits.
    bits = int(np.max(tags.get(BITS_PER_SAMPLE, 16)))
    values = np.asarray(image).astype(np.int32)
    grey = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = Image.fromarray(255 - np.asarray(grey))
    if "transparency" in image.info:  # the one value that is transparent, of 16 bits
        grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _unstated(pixels: str) -> UserError:
    return UserError(
        f"found pixels that are {pixels}, whose black and white no file states, expected 8 or 16 bits; convert it"
    )


def _on_background(image: "Image.Image") -> "Image.Image":
    """The image as RGB, laid on the background where it is transparent."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, BACKGROUND), colours).convert("RGB")
