"""The shape of images that is told before they are there is the one that they have."""

import pytest

from mcoherence.data.image_shapes import image_shape
from mcoherence.data.source_modules import SOURCES
from mcoherence.data.sources import open_source

GLYPHS = {"size": 16, "classes": 3, "train_size": 9, "test_size": 6, "seed": 0, "variation": 1}


@pytest.mark.parametrize(
    "settings",
    [{"source": "digits", "train_size": 720, "seed": 0}, {"source": "glyphs", **GLYPHS}],
    ids=lambda settings: settings["source"],
)
def test_the_shape_is_that_of_the_opened_images(settings, tmp_path):
    assert image_shape(settings) == open_source(settings, tmp_path, download=False).image_shape


def test_images_of_a_folder_are_cut_to_the_size_that_is_asked_for():
    assert image_shape({"source": "folder", "resize": 256, "size": 224}) == (3, 224, 224)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_a_shape(source):
    channels, height, width = image_shape({"source": source, "size": 8})
    assert channels in (1, 3)
    assert height == width >= 8
