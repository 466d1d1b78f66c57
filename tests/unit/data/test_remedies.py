"""The advice on data: what was refused works once it was done."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from mcoherence.data import idx_files
from mcoherence.data.arguments import class_labels, places
from mcoherence.data.batches import require_batch
from mcoherence.data.image_folder import decode_image
from mcoherence.data.pixels import open_rgb
from mcoherence.data.preparation import prepare_images
from mcoherence.data.sources import open_source
from mcoherence.data.store import read_targets
from tests.remedies.following import cases_of, follow, follows
from tests.unit.data.test_sources import FOLDER, GREY, opened, packed, pets, plain, small_sets, write_files

assert pets, small_sets  # fixtures
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4), dtype=np.uint8)


ARGUMENTS = [  # message, what is refused, what is taken
    ("{}: found label {}, a label outside 0..{}; check num_classes",
     lambda: class_labels("labels", [0, 3], 3), [lambda: class_labels("labels", [0, 3], 4)]),
    ("{}: found label {}, expected whole numbers from 0 on; let the classes be 0, 1, 2, ..., and leave out examples",
     lambda: class_labels("labels", [-1, 1, 2]),
     [lambda: class_labels("labels", [0, 1, 2]), lambda: class_labels("labels", [1, 2])]),
    ("{}: found {}s that are masked out, expected one for each example; leave them out",
     lambda: class_labels("labels", np.ma.array([0, 1], mask=[False, True])),
     [lambda: class_labels("labels", np.ma.array([0, 1], mask=[False, True]).compressed())]),
    ("{}: found {}s of type {}, expected whole numbers; convert them",
     lambda: class_labels("labels", torch.tensor([0.0, 1.0], dtype=torch.bfloat16)),
     [lambda: class_labels("labels", torch.tensor([0.0, 1.0], dtype=torch.bfloat16).long())]),
    ("{}: found {}s of type {}, expected whole numbers; convert them, or {}",
     lambda: class_labels("labels", [0.0, 1.0]), [lambda: class_labels("labels", np.array([0.0, 1.0]).astype(int))]),
    ("{}: found {}s of shape {}, expected [N], one whole number for each example; {}",
     lambda: class_labels("labels", np.eye(3, dtype=int)),
     [lambda: class_labels("labels", np.eye(3, dtype=int).argmax(axis=1)),
      lambda: class_labels("labels", np.array([[0], [1]]).flatten())]),
    ("take numpy.flatnonzero of a mask",
     lambda: places("split", np.array([True, False]), 2),
     [lambda: places("split", np.flatnonzero(np.array([True, False])), 2)]),
]  # fmt: skip


@pytest.mark.parametrize(("message", "wrong", "ways_out"), ARGUMENTS, ids=[message[:60] for message, *_ in ARGUMENTS])
def test_an_argument_as_the_message_says_is_taken(message, wrong, ways_out):
    follow(message, lambda: iter([wrong, *ways_out]), None)


def test_the_shortest_of_these_messages_is_the_one_of_tensors():
    """It is a part of the longer one, so that only the whole line tells them apart."""
    with pytest.raises(Exception, match=r"bfloat16, expected whole numbers; convert them$"):
        class_labels("labels", torch.tensor([0.5], dtype=torch.bfloat16))


# MNIST and its relatives


@follows("{}: found no {} in {}, expected all four files, packed or unpacked; put them there, remove the others")
def a_file_is_missing(tmp_path, small_sets):
    folder = write_files(tmp_path / "data/FashionMNIST/raw")
    kept = (folder / "t10k-labels-idx1-ubyte").read_bytes()
    (folder / "t10k-labels-idx1-ubyte").unlink()
    yield lambda: opened("fashion_mnist", tmp_path / "data")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(kept)
    yield lambda: opened("fashion_mnist", tmp_path / "data")
    for path in folder.iterdir():
        path.unlink()
    write_files(small_sets, packed)  # the others removed, those of the package are found
    yield lambda: opened("fashion_mnist", tmp_path / "data")


@follows("{}: found none of its files in {}, expected four of them; {}, set data_folder, or set download: true")
def no_files(tmp_path, small_sets):
    yield lambda: opened("mnist", tmp_path / "data")
    write_files(tmp_path / "elsewhere/MNIST/raw")
    yield lambda: opened("mnist", tmp_path / "elsewhere")
    write_files(tmp_path / "data/MNIST/raw")
    yield lambda: opened("mnist", tmp_path / "data")


@follows("put {}.gz and the other three, packed or unpacked, into {}")
def the_files_that_are_named(tmp_path, small_sets):
    yield lambda: opened("mnist", tmp_path / "data")
    write_files(tmp_path / "data" / idx_files.FOLDERS["mnist"], packed)
    yield lambda: opened("mnist", tmp_path / "data")


WRONG_FILES = [
    ("put the published file there again", "mnist", "data", {"train_images": b"no IDX file"}),
    ("{}: {} is damaged ({}); {}", "mnist", "data", {"train_images": b"no IDX file"}),
    ("install it again (apt-get install --reinstall {})", "fashion_mnist", None, {"train_images": b"no IDX file"}),
    ("{}: damaged: found values of shapes {} and {} in {}, expected an image for every label; put the published files",
     "kmnist", "data", {"train_labels": GREY["train-labels-idx1-ubyte"][:7]}),
    ("{}: found {} in the part {}, expected {}; put the published files there, or set data_folder to a folder that has",
     "kmnist", "data", {"train_labels": GREY["train-labels-idx1-ubyte"] + 100}),
    ("{}: {} is not the published {}: found SHA-256 {}... of its content, {} images in this part, expected {}...; put",
     "mnist", "data", {"train_images": GREY["train-images-idx3-ubyte"] ^ 1}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "source", "place", "other"), WRONG_FILES, ids=[row[0][:60] for row in WRONG_FILES])
def test_the_published_files_put_there_are_read(tmp_path, small_sets, message, source, place, other):
    folder = tmp_path / "data" / idx_files.FOLDERS[source] if place else small_sets
    damaged = {name: value for name, value in other.items() if isinstance(value, bytes)}
    write_files(folder, plain, **{name: value for name, value in other.items() if name not in damaged})
    for name, content in damaged.items():
        next(folder.glob(f"{name.replace('_', '-')}*")).write_bytes(content)

    def steps():
        yield lambda: opened(source, tmp_path / "data")
        if "set data_folder" in message:
            write_files(tmp_path / "other" / idx_files.FOLDERS[source])
            yield lambda: opened(source, tmp_path / "other")
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        write_files(folder)
        yield lambda: opened(source, tmp_path / "data")

    follow(message, steps, None)


# CIFAR


@follows("{}: data_folder: found {}, which cannot be made ({}); set another one")
def a_data_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("mcoherence.data.torchvision_sets._download", lambda *_: None)
    from mcoherence.data.torchvision_sets import _lock, _reader

    yield lambda: _lock(_reader("MNIST"), "mnist", tmp_path / "file/data")
    yield lambda: _lock(_reader("MNIST"), "mnist", tmp_path / "data").acquire()


# Folders of images


def read(tmp_path):
    return open_source(FOLDER, tmp_path, False)


@follows("{}: not found; expected a folder with one folder of images per class; set root")
def no_such_root(pets, tmp_path):
    yield lambda: open_source(FOLDER | {"root": "dogs"}, tmp_path, False)
    yield lambda: read(tmp_path)


@follows("{}: found {} in the place of a class; remove it")
def a_link_to_nowhere(pets, tmp_path):
    (pets / "train/bird").symlink_to("nowhere")
    yield lambda: read(tmp_path)
    (pets / "train/bird").unlink()
    yield lambda: read(tmp_path)


@follows("{}: found a class folder whose name is not UTF-8, expected UTF-8; rename it")
def a_class_in_latin_1(pets, tmp_path):
    names = [os.fsencode(pets / part) + b"/k\xe4fer" for part in ("train", "val")]
    for name in names:
        os.mkdir(name)
        Image.new("RGB", (20, 16), (9, 9, 9)).save(os.path.join(os.fsdecode(name), "one.png"))
    yield lambda: read(tmp_path)
    for name in names:
        os.rename(name, name.replace(b"\xe4", "ä".encode()))
    yield lambda: read(tmp_path)


@follows("{}: found {} entries that are no images: {}; expected files; mend or remove them and run again")
def entries_that_are_no_files(pets, tmp_path):
    link = pets / "train/cat/two.png"
    link.symlink_to("nowhere.png")
    yield lambda: read(tmp_path)
    (pets / "train/cat/nowhere.png").write_bytes((pets / "train/cat/one.png").read_bytes())
    yield lambda: read(tmp_path)
    (pets / "train/cat/nowhere.png").unlink()
    link.unlink()
    yield lambda: read(tmp_path)


@follows("found {} images that do not decode: {}; repair or remove them and run again")
def images_that_do_not_decode(pets, tmp_path):
    broken, whole = pets / "train/cat/two.png", (pets / "train/cat/one.png").read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    for _ in range(3):  # what the first start has kept is used by the next
        Image.effect_noise((20, 16), 90).convert("RGB").save(pets / "train/dog/noise.png")
    yield lambda: prepare_images(tmp_path / "images.h5", read(tmp_path), {})
    broken.write_bytes(whole)
    yield lambda: prepare_images(tmp_path / "images.h5", read(tmp_path), {})
    assert len(read_targets(tmp_path / "images.h5", "train")) == 4
    broken.unlink()
    yield lambda: prepare_images(tmp_path / "images.h5", read(tmp_path), {})
    assert len(read_targets(tmp_path / "images.h5", "train")) == 3


@follows("found pixels that are {}, whose black and white no file states, expected 8 or 16 bits; convert it")
def floats_in_a_tiff(tmp_path):
    path, grey = tmp_path / "f.tif", np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(grey).save(path)
    yield lambda: open_rgb(str(path))
    Image.fromarray((255 * grey).astype(np.uint8)).save(path)
    yield lambda: open_rgb(str(path))


@follows(
    "found a transparent colour among colours of 16 bits, which 8 bits do not tell apart, expected none or an alpha"
)
def a_transparent_colour_of_16_bits(tmp_path):
    import struct
    import zlib

    def chunk(kind, content):
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    def png(transparent):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
        rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
        return b"\x89PNG\r\n\x1a\n" + head + transparent + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    path = tmp_path / "c.png"
    path.write_bytes(png(chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))))
    yield lambda: open_rgb(str(path))
    path.write_bytes(png(b""))
    yield lambda: open_rgb(str(path))


@follows("found more than {} pixels, expected at most these; resize it")
def too_many_pixels(tmp_path):
    path = tmp_path / "large.png"
    image = Image.new("1", (20000, 9000))
    image.save(path)
    yield lambda: decode_image(str(path), 12, 12)
    image.resize((2000, 900)).save(path)
    yield lambda: decode_image(str(path), 12, 12)


# The rest


@follows(
    "{}: found an array of {} {}, expected uint8 [N, {}], as the shape in the config says; convert pixels to 0..255"
)
def pixels_of_an_own_source(tmp_path, monkeypatch):
    (tmp_path / "pixels_of_mine.py").write_text(
        "images = None\ndef data():\n    return images, [0, 1], images, [0, 1]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import pixels_of_mine

    settings = {"source": "pixels_of_mine:data", "shape": [3, 4, 4]}
    pixels_of_mine.images = IMAGES[:2] / 255
    yield lambda: open_source(settings, tmp_path, False)
    pixels_of_mine.images = (255 * pixels_of_mine.images).round().astype(np.uint8)
    yield lambda: open_source(settings, tmp_path, False)


@follows("{}: found {} {}_images and {} {}_targets, expected as many of both and at least 1; let the function return a")
def an_own_source_without_a_test_part(tmp_path, monkeypatch):
    code = "import numpy as np\ndef data():\n    images = np.zeros((2, 3, 4, 4), np.uint8)\n"
    monkeypatch.syspath_prepend(tmp_path)
    for number, part in enumerate(("images[:0], []", "images, [0, 1]")):
        (tmp_path / f"part_of_mine_{number}.py").write_text(f"{code}    return images, [0, 1], {part}\n")
        settings = {"source": f"part_of_mine_{number}:data", "shape": [3, 4, 4]}
        yield lambda settings=settings: open_source(settings, tmp_path, False)


@follows("source: found {}{}, expected one of {}, or module:function; choose one")
def an_unknown_source(tmp_path):
    yield lambda: open_source({"source": "mnst", "train_size": None, "test_size": None, "seed": 0}, tmp_path, False)
    yield lambda: open_source({"source": "digits", "train_size": 20, "test_size": None, "seed": 0}, tmp_path, False)


@follows("{}: found part {} asked for, expected {}; choose one")
def an_unknown_part(pets, tmp_path):
    path = tmp_path / "images.h5"
    Image.effect_noise((20, 16), 90).convert("RGB").save(pets / "train/dog/noise.png")
    prepare_images(path, read(tmp_path), {})
    yield lambda: read_targets(path, "val")
    yield lambda: read_targets(path, "test")


@follows("{}: found {}, expected at most the {} examples that are trained on; lower it")
def a_batch_beyond_the_examples():
    yield lambda: require_batch(8, 7, "training.batch_size")
    yield lambda: require_batch(7, 7, "training.batch_size")


@cases_of(__name__)
def test_the_advice_is_followed(message, case, request):
    follow(message, case, request)
