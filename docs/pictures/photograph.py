"""Photographs of a study's page for the gallery, by headless Chromium without a network.

    PYTHONPATH=. python docs/pictures/photograph.py results/digits/index.html docs/pictures/gallery_digits

writes docs/pictures/gallery_digits_first_screen.png and so on. Each is cut from one element of the page to another, and
is kept below 400 kB by fewer colours.
"""

import base64
import io
import sys
from pathlib import Path

from PIL import Image

from tests.browser import Page, browser

WIDTH, HEIGHT = 1360, 900
MOST_BYTES = 400_000
# Name -> (CSS selector of the element at the top, that of the first element left out, greatest height in pixels).
CUTS = {
    "first_screen": ("body", "#layers", 1150),
    "layers": ("#layers", "#equal-fit", 800),
    "figures": ("#figure-coherence_by_step", "#figure-layer_coherence", 1250),
    "claims": ("#claims", "#files", 1100),
}


def photograph(page: Page, start: str, end: str, most: int) -> Image.Image | None:
    """The page from the top of one element to that of another; None where it lacks the first."""
    place = "document.querySelector({!r})?.getBoundingClientRect().top + window.scrollY"
    top, bottom = page.value(place.format(start)), page.value(place.format(end))
    if top is None:
        return None
    height = min(most, (bottom if bottom is not None else top + most) - top)
    clip = {"x": 0, "y": top, "width": WIDTH, "height": height, "scale": 1}
    answer = page.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    return Image.open(io.BytesIO(base64.b64decode(answer["data"])))


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG of few enough colours to be small."""
    for colors in (256, 128, 64, 32):
        picture.convert("RGB").quantize(colors).save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            return
    raise SystemExit(f"{path}: found {path.stat().st_size} bytes, expected at most {MOST_BYTES}; cut it shorter")


def main(study_page: Path, prefix: str) -> None:
    """Photograph all cuts of one page."""
    with browser() as page:
        page.open(study_page, WIDTH, HEIGHT)
        page.value("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
        page.value("Promise.all([...document.images].map(image => image.decode().catch(() => 0))).then(() => 1)")
        for name, cut in CUTS.items():
            picture = photograph(page, *cut)
            if picture is not None:
                save(picture, Path(f"{prefix}_{name}.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
