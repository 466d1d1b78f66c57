"""Figures as files say what they were drawn from, and by which settings and code."""

import hashlib
import shutil

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mcoherence.audit.origins import read_provenance
from mcoherence.errors import UserError
from mcoherence.figures.panels import message_figure
from mcoherence.figures.saving import save_figure
from mcoherence.files.pictures import check_picture
from mcoherence.files.provenance import provenance


def test_both_files_say_what_they_were_drawn_from(tmp_path):
    table = tmp_path / "coherence.parquet"
    table.write_bytes(b"rows")
    origin = provenance({"dpi": 60}, [table], code="0123")
    save_figure(message_figure("nothing"), tmp_path / "f.png", tmp_path / "f.pdf", 60, origin)
    sha256 = hashlib.sha256(b"rows").hexdigest()
    assert origin.inputs == {str(table): sha256}
    assert read_provenance(tmp_path / "f.png") == origin
    assert sha256.encode() in (tmp_path / "f.pdf").read_bytes()


def test_a_picture_that_says_nothing_is_refused(tmp_path):
    (tmp_path / "other.png").write_bytes(b"no picture")
    for name in ("other.png", "nowhere.png"):
        with pytest.raises(UserError, match="missing, damaged or not a result file"):
            read_provenance(tmp_path / name)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with two figures."""
    folder = tmp_path_factory.mktemp("drawn")
    for name in ("summary", "optimizers"):
        save_figure(message_figure(name), folder / f"{name}.png", folder / f"{name}.pdf", 60)
    return folder


@pytest.fixture
def figure(drawn, tmp_path):
    """The paths of both forms of a figure called summary, beside those of another one called optimizers."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    return tmp_path / "summary.png", tmp_path / "summary.pdf"


def with_other_pixels(png):
    """The picture with a pixel changed and all of its texts kept."""
    with Image.open(png) as image:
        texts = PngInfo()
        for key, value in image.info.items():
            if isinstance(value, str):
                texts.add_text(key, value)
        image.load()
        image.putpixel((0, 0), (0, 0, 0, 255))
        image.save(png, pnginfo=texts)


DAMAGE = {
    "edited": (with_other_pixels, r"summary\.png: missing, damaged or no figure .*its bytes and its seal differ"),
    "another": (
        lambda png: shutil.copy(png.with_name("optimizers.png"), png),
        r"summary\.png: .*it is the figure optimizers",
    ),
    "cut": (lambda png: png.write_bytes(png.read_bytes()[:1000]), r"summary\.png: missing, damaged"),
    "empty": (lambda png: png.write_bytes(b""), r"summary\.png: missing, damaged"),
    "missing": (lambda png: png.unlink(), r"summary\.png: missing"),
    "PDF edited": (
        lambda png: png.with_suffix(".pdf").write_bytes(png.with_suffix(".pdf").read_bytes() + b"%"),
        r"summary\.pdf: changed since it was drawn",
    ),
    "PDF missing": (lambda png: png.with_suffix(".pdf").unlink(), r"summary\.pdf: missing"),
    "another PDF": (
        lambda png: shutil.copy(png.with_name("optimizers.pdf"), png.with_suffix(".pdf")),
        r"summary\.pdf: changed since it was drawn, expected the one that summary\.png names",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_figure_that_is_not_as_it_was_drawn_is_refused(figure, what):
    check_picture(*figure)
    damage, message = DAMAGE[what]
    damage(figure[0])
    with pytest.raises(UserError, match=message) as refusal:
        check_picture(*figure)
    assert str(refusal.value).endswith("; delete the file and run again")
    assert "\n" not in str(refusal.value)
