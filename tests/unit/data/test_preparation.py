"""The prepared store: exact statistics, bounded blocks, and a killed preparation that ends with the same bytes."""

import hashlib
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
import pytest

from mcoherence.data import preparation
from mcoherence.data.preparation import ChannelSums, prepare_images
from mcoherence.data.sources import Source, SourcePart
from mcoherence.data.store import read_targets
from mcoherence.errors import UserError

ROOT = Path(__file__).parents[3]
SHAPE = (3, 16, 16)


def paint(items, bad=()):
    """Item k as an image of its own; those in `bad` do not decode."""
    images = np.stack([np.random.default_rng(item).integers(0, 256, SHAPE, dtype=np.uint8) for item in items])
    return images, [f"image {item} (broken)" for item in items if item in bad]


def painted(train, test, bad=()):
    parts = [
        SourcePart(list(items), np.arange(len(items), dtype=np.int64) % 3, partial(paint, bad=bad))
        for items in (train, test)
    ]
    return Source(*parts, SHAPE, ("a", "b", "c"))


@pytest.fixture
def small_blocks(monkeypatch):
    """Two images to a chunk and eight to a block."""
    monkeypatch.setattr(preparation, "CHUNK_BYTES", 2 * 3 * 16 * 16)


@pytest.fixture
def uninterrupted(tmp_path, small_blocks):
    path = tmp_path / "uninterrupted" / "images.h5"
    prepare_images(path, painted(range(50), range(100, 111)), {"settings": {"seed": 0}})
    return path


def test_blocks_make_the_same_images_as_the_whole(uninterrupted):
    whole, _ = paint(range(50))
    with h5py.File(uninterrupted) as file:
        assert np.array_equal(file["train/images"], whole)
        assert np.array_equal(file["test/images"], paint(range(100, 111))[0])
        mean, std = file.attrs["mean"], file.attrs["std"]
    assert read_targets(uninterrupted, "train").tolist() == [k % 3 for k in range(50)]
    assert mean == pytest.approx(whole.mean(axis=(0, 2, 3)) / 255, rel=1e-14)
    assert std == pytest.approx(whole.astype(float).std(axis=(0, 2, 3)) / 255, rel=1e-14)
    sums = ChannelSums(3)
    sums.add(whole)
    assert [mean.tolist(), std.tolist()] == [values.tolist() for values in sums.mean_and_std()]


def test_statistics_are_exact_where_floating_point_sums_are_not():
    """A million pixels of 254 and a million of 255: mean 254.5, deviation one half, to the last bit."""
    images = np.full((2, 1, 1000, 1000), 254, dtype=np.uint8)
    images[1] = 255
    sums = ChannelSums(1)
    sums.add(images)
    mean, std = sums.mean_and_std()
    assert (mean[0], std[0]) == (254.5 / 255, 0.5 / 255)


def test_the_file_says_what_is_in_it(uninterrupted):
    content = hashlib.sha256()
    with h5py.File(uninterrupted) as file:
        for part in ("train", "test"):
            content.update(file[f"{part}/images"][:].tobytes())
            content.update(file[f"{part}/targets"][:].tobytes())
            assert file[f"{part}/images"].chunks == (2, *SHAPE)
            assert file[f"{part}/images"].fletcher32
        assert file.attrs["content_sha256"] == content.hexdigest()


def test_a_big_image_has_a_chunk_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "CHUNK_BYTES", 1000)
    prepare_images(tmp_path / "images.h5", painted(range(3), range(3)), {})
    with h5py.File(tmp_path / "images.h5") as file:
        assert file["train/images"].chunks == (1, *SHAPE)
        assert file["train/images"].compression is None


def test_workers_change_no_byte_and_leave_nothing_behind(uninterrupted, tmp_path):
    path = tmp_path / "images.h5"
    prepare_images(path, painted(range(50), range(100, 111)), {"settings": {"seed": 0}}, workers=2)
    assert path.read_bytes() == uninterrupted.read_bytes()
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == ["images.h5"]


def test_all_images_that_do_not_decode_are_named_and_nothing_is_written(tmp_path, small_blocks):
    with pytest.raises(UserError) as caught:
        prepare_images(tmp_path / "images.h5", painted(range(50), range(100, 111), bad=(3, 41, 107)), {})
    assert str(caught.value) == (
        "found 3 images that do not decode: image 3 (broken); image 41 (broken); image 107 (broken); "
        "repair or remove them and run again"
    )
    assert not (tmp_path / "images.h5").exists()


def decoded_items(monkeypatch):
    """A list that fills with the items that are decoded from now on."""
    seen = []
    original = preparation._decoded
    monkeypatch.setattr(
        preparation,
        "_decoded",
        lambda part, blocks, workers: (seen.extend(chain(*blocks)), original(part, blocks, workers))[1],
    )
    return seen


def test_after_a_repair_only_what_is_missing_is_decoded(uninterrupted, tmp_path, monkeypatch):
    path = tmp_path / "images.h5"
    attributes = {"settings": {"seed": 0}}
    with pytest.raises(UserError):
        prepare_images(path, painted(range(50), range(100, 111), bad=(20,)), attributes)
    seen = decoded_items(monkeypatch)
    prepare_images(path, painted(range(50), range(100, 111)), attributes)
    assert seen == list(range(16, 50))  # blocks of eight: 0-7 and 8-15 were good, and all of the test part
    assert path.read_bytes() == uninterrupted.read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flipped bit", "another item", "other settings"])
def test_kept_blocks_that_do_not_fit_are_made_again(uninterrupted, tmp_path, monkeypatch, damage):
    path = tmp_path / "images.h5"
    before = list(range(50))
    if damage == "another item":
        before[18] = 1000
    with pytest.raises(UserError):
        prepare_images(
            path,
            painted(before, range(100, 111), bad=(49,)),
            {"settings": {"seed": 0}},
            resume_key="other settings" if damage == "other settings" else "",
        )
    kept = next(tmp_path.glob(".images.h5.*.train.partial"))
    content = bytearray(kept.read_bytes())
    if damage == "cut":
        content = content[: 2 * (8 * 768 + 16) + 100]
    elif damage == "flipped bit":
        content[2 * (8 * 768 + 16) + 5] ^= 1
    kept.write_bytes(content)
    seen = decoded_items(monkeypatch)
    prepare_images(path, painted(range(50), range(100, 111)), {"settings": {"seed": 0}})
    first = 0 if damage == "other settings" else 16
    assert [item for item in seen if item < 100] == list(range(first, 50))
    assert path.read_bytes() == uninterrupted.read_bytes()
    assert not list(tmp_path.glob(".*"))


def flat_pictures(items, shape):
    return np.stack([np.full(shape, item % 251, dtype=np.uint8) for item in items]), []


def test_memory_is_a_few_blocks_however_many_images_there_are(tmp_path):
    shape, count = (3, 64, 64), 4000
    part = SourcePart(range(count), np.zeros(count, dtype=np.int64), partial(flat_pictures, shape=shape))
    source = Source(part, SourcePart(range(10), np.zeros(10, dtype=np.int64), part.decode), shape, ("a",))
    tracemalloc.start()
    prepare_images(tmp_path / "images.h5", source, {})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.25 * count * 3 * 64 * 64


def test_a_constant_channel_is_refused(tmp_path):
    images = np.zeros((4, 1, 2, 2), dtype=np.uint8)
    part = SourcePart(images, np.zeros(4, dtype=np.int64))
    with pytest.raises(UserError, match="channel 0 of the training images is the same everywhere"):
        prepare_images(tmp_path / "images.h5", Source(part, part, (1, 2, 2), ("a",)), {})
    assert not list(tmp_path.iterdir())


def folder_of_images(root, per_class):
    from PIL import Image

    generator = np.random.default_rng(0)
    for part, count in (("train", per_class), ("val", 3)):
        for label in ("cat", "dog"):
            folder = root / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (90, 120, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:04}.jpg")


def test_a_preparation_killed_again_and_again_ends_with_the_same_bytes(tmp_path):
    """SIGKILL to the command line at some moment of its work, until it gets through."""
    folder_of_images(tmp_path / "data/pets", per_class=400)
    settings = '{"source":"folder","root":"pets","resize":80,"size":64,"train_size":null,"test_size":null,"seed":0}'

    def command(images):
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "workflow_scripts.prepare_dataset", "--settings", settings),
                *("--module", "mcoherence.data.image_folder"),
                *("--data-folder", str(tmp_path / "data"), "--no-download", "--images", str(images), "--threads", "2"),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    whole, interrupted = tmp_path / "whole/images.h5", tmp_path / "interrupted/images.h5"
    process = command(whole)
    assert process.wait() == 0, process.stderr.read()
    kills = 0
    for blocks in (1, 4, 7):
        process = command(interrupted)
        while process.poll() is None:
            kept = list(interrupted.parent.glob(".*.train.partial"))
            if kept and kept[0].stat().st_size > blocks * 80 * 64 * 64 * 3:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        process.wait()
    assert kills >= 2  # the last one may come too late
    process = command(interrupted)
    assert process.wait() == 0, process.stderr.read()
    assert interrupted.read_bytes() == whole.read_bytes()
    assert sorted(file.name for file in interrupted.parent.iterdir()) == ["folder.json", "images.h5"]
