"""Glyphs: characters drawn from the fonts that matplotlib ships, hard for a network and legible for a person.

A drawn character has a random font, stroke, pose and colour, lies on an uneven background among pieces of other
characters and lines, and is blurred and noisy. `variation` scales all of this but font and stroke down: at 0 a
character is upright, in the middle, white on black and clean. Image i of a part depends on (seed, part, i) and the
settings alone, so that a bigger set of the same settings extends a smaller one; its class is i modulo the classes.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcoherence.data.random_streams import GLYPHS, random_stream
from mcoherence.data.sources import Decoded, Source, SourcePart

if TYPE_CHECKING:
    from PIL import Image

# Classes in this order: first those that differ by more than their size, the 47 of EMNIST's balanced set
# (arXiv 1702.05373), then the lower-case letters that look like their capitals, then signs.
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrtcijklmopsuvwxyz&?+=%#@$"

# Fonts of mpl-data/fonts/ttf with all of these characters in the places where text expects them.
FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmr10", "cmb10", "cmss10", "cmtt10"),
)

PARTS = {"train": 0, "test": 1}
FONT_SIZE = 64  # pixels per em of the masks that a glyph is posed from
MASK_SIDE = 2 * FONT_SIZE
OVERSAMPLING = 2  # posed masks are drawn this much finer, then averaged


def open_source(settings: Mapping[str, Any], _data_folder: Path, _download: bool) -> Source:
    """The glyphs of {"classes", "size", "train_size", "test_size", "seed", "variation"}; images [N, 3, size, size]."""
    classes, size, seed = settings["classes"], settings["size"], settings["seed"]
    variation = settings.get("variation", 1.0)
    parts: dict[str, SourcePart] = {}
    for part, number in PARTS.items():
        count = settings[f"{part}_size"]
        draw = partial(draw_glyphs, part=number, classes=classes, size=size, seed=seed, variation=variation)
        parts[part] = SourcePart(range(count), np.arange(count, dtype=np.int64) % classes, draw)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("matplotlib", "pillow", "numpy"))
    return Source(
        **parts,
        image_shape=(3, size, size),
        class_names=tuple(CHARACTERS[:classes]),
        attributes={"reader": libraries},
    )


def draw_glyphs(
    positions: Sequence[int], part: int, classes: int, size: int, seed: int, variation: float = 1.0
) -> Decoded:
    """The images uint8 [n, 3, size, size] at these positions of a part (0 train, 1 test); nothing ever fails."""
    images = np.empty((len(positions), 3, size, size), dtype=np.uint8)
    for row, position in enumerate(positions):
        generator = random_stream(seed, GLYPHS, part, position)
        images[row] = draw_glyph(generator, CHARACTERS[position % classes], size, variation).transpose(2, 0, 1)
    return images, []


def draw_glyph(generator: np.random.Generator, character: str, size: int, variation: float = 1.0) -> NDArray[np.uint8]:
    """One image uint8 [size, size, 3] of `character`, everything else drawn from `generator`.

    The same numbers are drawn whatever the variation in [0, 1] is, which then scales their effect.
    """
    from PIL import Image, ImageFilter

    plain = 1 - variation
    ink, paper = _contrasting_colors(generator)
    ink, paper = variation * ink + plain * 255, variation * paper
    picture = _background(generator, paper, size, variation)
    for _ in range(generator.integers(1, 4)):
        picture = _laid_on(
            picture, _color_between(generator, ink, paper), variation * _piece_of_clutter(generator, size)
        )
    height = (variation * generator.uniform(0.85, 1.25) + plain * 1.05) * size  # of the em; capitals: about 0.7 of it
    center = size * (0.5 + variation * generator.uniform(-0.1, 0.1, 2))
    mask = _random_mask(generator, character)
    picture = _laid_on(picture, ink, _posed(generator, mask, height, center, size, variation))
    if generator.random() < 0.4:
        picture = _laid_on(picture, _color_between(generator, ink, paper), variation * _line(generator, size))

    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    blurred = image.filter(ImageFilter.GaussianBlur(variation * generator.uniform(0.0, 0.025) * size))
    noise = variation * generator.normal(0.0, generator.uniform(4.0, 22.0), (size, size, 3))
    return np.clip(np.rint(np.asarray(blurred) + noise), 0, 255).astype(np.uint8)


def _contrasting_colors(generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours of ink and paper, float64 [3], at least 70 levels of brightness apart, either the darker one."""
    while True:
        ink, paper = generator.uniform(0, 255, (2, 3))
        if abs(np.dot(ink - paper, (0.299, 0.587, 0.114))) >= 70:
            return ink, paper


def _color_between(
    generator: np.random.Generator, ink: NDArray[np.float64], paper: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A colour for clutter: part of the way from paper to ink, and off it."""
    return paper + generator.uniform(0.3, 0.8) * (ink - paper) + generator.uniform(-40, 40, 3)


def _background(
    generator: np.random.Generator, paper: NDArray[np.float64], size: int, variation: float
) -> NDArray[np.float64]:
    """Uneven paper, float64 [size, size, 3]: a coarse random pattern, interpolated."""
    from PIL import Image

    cells = int(generator.integers(2, 6))
    coarse = np.clip(paper + variation * generator.uniform(-30, 30, (cells, cells, 3)), 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)


def _laid_on(
    picture: NDArray[np.float64], color: NDArray[np.float64], cover: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`color` [3] laid on `picture` [size, size, 3] where `cover` [size, size], in [0, 1], says how much."""
    return picture + cover[:, :, None] * (color - picture)


def _piece_of_clutter(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Cover of another character, small or cut off by an edge of the image."""
    mask = _random_mask(generator, CHARACTERS[generator.integers(len(CHARACTERS))])
    angle = generator.uniform(0, 2 * np.pi)
    center = size * (0.5 + generator.uniform(0.45, 0.6) * np.array([np.cos(angle), np.sin(angle)]))
    return _posed(generator, mask, generator.uniform(0.4, 0.9) * size, center, size, 1.0)


def _line(generator: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Cover of a thin straight line from edge to edge, half transparent."""
    across = np.add.outer(np.arange(size), np.zeros(size)) - size * generator.uniform(0.1, 0.9)
    along = np.add.outer(np.zeros(size), np.arange(size)) - size / 2
    angle = generator.uniform(0, np.pi)
    distance = np.abs(np.cos(angle) * across + np.sin(angle) * along)
    cover: NDArray[np.float64] = 0.6 * np.clip(size / 40 + 0.5 - distance, 0, 1)
    return cover


def _posed(
    generator: np.random.Generator,
    mask: "Image.Image",
    height: float,
    center: NDArray[np.float64],
    size: int,
    variation: float,
) -> NDArray[np.float64]:
    """Cover float64 [size, size] of a mask, randomly posed: its em `height` pixels high, centred at `center` (x, y)."""
    from PIL import Image

    angle = np.deg2rad(variation * generator.uniform(-25, 25))
    shear = variation * generator.uniform(-0.3, 0.3)
    stretch = np.exp(variation * generator.uniform(-0.2, 0.2))  # wider or narrower
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pose = rotation @ np.array([[stretch, shear], [0.0, 1.0]]) * (OVERSAMPLING * height / FONT_SIZE)
    inverse = np.linalg.inv(pose)  # Pillow asks where in the mask each point of the result comes from
    offset = MASK_SIDE / 2 - inverse @ (OVERSAMPLING * center)
    coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
    side = OVERSAMPLING * size
    posed = mask.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(posed.reduce(OVERSAMPLING), dtype=np.float64) / 255.0


def _random_mask(generator: np.random.Generator, character: str) -> "Image.Image":
    """The character in a random font and stroke: as it is, bolder, or as an outline."""
    font = FONTS[generator.integers(len(FONTS))]
    stroke = int(generator.choice((0, 0, 1, 2)))  # pixels of a mask; more would fill the counters of bold fonts
    return _mask(font, character, stroke, hollow=stroke == 2 and generator.random() < 0.5)


@lru_cache(maxsize=20_000)
def _mask(font: str, character: str, stroke: int, hollow: bool) -> "Image.Image":
    """The character in the middle of a grey image of side MASK_SIDE; cached, since a set draws few different ones."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (MASK_SIDE, MASK_SIDE), 0)
    draw = ImageDraw.Draw(image)
    middle = (MASK_SIDE / 2, MASK_SIDE / 2)
    draw.text(middle, character, 255, _font(font), anchor="mm", stroke_width=stroke)
    if hollow:
        draw.text(middle, character, 0, _font(font), anchor="mm")
    return image


@lru_cache
def _font(name: str) -> Any:
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), FONT_SIZE)
