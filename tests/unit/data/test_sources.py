"""Sources: files in their native formats, made here by hand, come back pixel by pixel; bad ones are one clear line."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from mcoherence.data import idx_files
from mcoherence.data.glyphs import CHARACTERS, draw_glyphs
from mcoherence.data.image_folder import decode_files, decode_image
from mcoherence.data.sources import open_source
from mcoherence.data.stratified import stratified_positions
from mcoherence.errors import UserError
from mcoherence.study.data_sizes import CLASS_NAMES

SIZES = {"train_size": None, "test_size": None, "seed": 0}


def md5(content):
    return hashlib.md5(content).hexdigest()


# MNIST and its relatives: gzipped IDX files


def idx(values):
    """Bytes of an IDX file: two zeros, type 8 (unsigned byte), rank, sizes as big-endian int32, then the values."""
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape) + values.tobytes()


GREY = {
    "train-images-idx3-ubyte": np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8),
    "train-labels-idx1-ubyte": (np.arange(30) % 10).astype(np.uint8),
    "t10k-images-idx3-ubyte": np.random.default_rng(1).integers(0, 256, (20, 28, 28), dtype=np.uint8),
    "t10k-labels-idx1-ubyte": (np.arange(20) % 10).astype(np.uint8),
}


@pytest.fixture
def small_sets(monkeypatch, tmp_path):
    """As if MNIST and its relatives had been published with the images made here; the folder of no package."""
    from torchvision import datasets

    archives = {f"{name}.gz": gzip.compress(idx(values)) for name, values in GREY.items()}
    for reader in ("MNIST", "FashionMNIST", "KMNIST"):
        resources = [(name, md5(content)) for name, content in archives.items()]
        monkeypatch.setattr(getattr(datasets, reader), "resources", resources)
    contents = {name: hashlib.sha256(idx(values)).hexdigest() for name, values in GREY.items()}
    monkeypatch.setattr(idx_files, "CONTENT", {"mnist": contents, "fashion_mnist": contents})
    monkeypatch.setattr(idx_files, "COUNTS", {"train": 30, "test": 20})
    package = tmp_path / "usr/share/datasets/fashion-mnist"
    monkeypatch.setattr(idx_files, "PACKAGES", {"fashion_mnist": ("dataset-fashion-mnist", package)})
    return package


def plain(values):
    return idx(values)


def packed(values):
    """As the publishers packed it: with the checksum that torchvision knows."""
    return gzip.compress(idx(values))


def repacked(values):
    """The same content under another gzip header and level, as Debian has it."""
    return gzip.compress(idx(values), compresslevel=1, mtime=1_591_347_949)


def write_files(folder, form=plain, rename=lambda name: name, **other):
    """Writes the four files to `folder`, `other` values in place of some, by their first words (train_images)."""
    folder.mkdir(parents=True)
    suffix = "" if form is plain else ".gz"
    for name, values in GREY.items():
        (folder / f"{rename(name)}{suffix}").write_bytes(form(other.get("_".join(name.split("-")[:2]), values)))
    return folder


def opened(source, data_folder, download=False):
    return open_source({"source": source, **SIZES}, data_folder, download)


SETS = {"mnist": ("MNIST/raw", "3"), "fashion_mnist": ("FashionMNIST/raw", "Dress"), "kmnist": ("KMNIST/raw", "tsu")}


@pytest.mark.parametrize("source", SETS)
def test_idx_files_are_read_from_their_archives_without_a_download(tmp_path, small_sets, source):
    raw, class_name = SETS[source]
    folder = write_files(tmp_path / "data" / raw, packed)
    data = opened(source, tmp_path / "data")
    assert np.array_equal(data.train.items, GREY["train-images-idx3-ubyte"][:, None])
    assert np.array_equal(data.train.targets, GREY["train-labels-idx1-ubyte"])
    assert np.array_equal(data.test.items, GREY["t10k-images-idx3-ubyte"][:, None])
    assert data.image_shape == (1, 28, 28)
    assert data.class_names[3] == class_name
    assert data.attributes["published"].startswith("yes, by ")
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.gz" for name in GREY)  # nothing unpacked


@pytest.mark.parametrize("form", [plain, repacked])
@pytest.mark.parametrize("rename", [lambda name: name, lambda name: name.replace("-idx", ".idx")], ids=["", "7-zip"])
@pytest.mark.parametrize("source", ["mnist", "fashion_mnist"])
def test_unpacked_and_repacked_files_are_known_by_their_content(tmp_path, small_sets, source, form, rename):
    write_files(tmp_path / SETS[source][0], form, rename)
    data = opened(source, tmp_path)
    assert np.array_equal(data.test.items, GREY["t10k-images-idx3-ubyte"][:, None])
    assert data.attributes["published"] == "yes, by the SHA-256 of what its files hold"


@pytest.mark.parametrize("form", [plain, repacked])
def test_files_of_kmnist_that_no_checksum_is_known_of_are_read_and_said_to_be_unchecked(tmp_path, small_sets, form):
    write_files(tmp_path / "KMNIST/raw", form)
    assert opened("kmnist", tmp_path).attributes["published"] == "unknown: no checksum of it is known"


def test_fashion_mnist_is_found_where_debians_package_puts_it(tmp_path, small_sets):
    write_files(small_sets, repacked)
    data = opened("fashion_mnist", tmp_path / "no such folder")
    assert np.array_equal(data.train.items, GREY["train-images-idx3-ubyte"][:, None])
    assert data.attributes["published"].startswith("yes, ")
    assert not (tmp_path / "no such folder").exists()


def test_the_data_folder_goes_before_the_package(tmp_path, small_sets):
    write_files(small_sets, repacked)
    write_files(tmp_path / "FashionMNIST/raw", train_images=GREY["train-images-idx3-ubyte"][::-1])
    with pytest.raises(UserError, match=r"FashionMNIST/raw/train-images-idx3-ubyte is not the published"):
        opened("fashion_mnist", tmp_path)


@pytest.mark.parametrize("form", [plain, repacked])
def test_another_data_set_in_the_same_files_is_refused(tmp_path, small_sets, form):
    fewer = {"train_images": GREY["train-images-idx3-ubyte"][:7], "train_labels": GREY["train-labels-idx1-ubyte"][:7]}
    write_files(tmp_path / "MNIST/raw", form, **fewer)
    message = (
        r"^mnist: .*MNIST/raw/train-images-idx3-ubyte\S* is not the published train-images-idx3-ubyte: found SHA-256 "
        r"\w{16}\.\.\. of its content, 7 images in this part, expected \w{16}\.\.\.; put the published files there"
    )
    with pytest.raises(UserError, match=message):
        opened("mnist", tmp_path)


NOT_KMNIST = {
    "too few": ({}, "found 30 images in the part train, expected the 60000 that were published"),
    "another size": (
        {"train_images": np.zeros((60_000, 5, 9), np.uint8), "train_labels": np.zeros(60_000, np.uint8)},
        "found images of 5 x 9 pixels in the part train, expected 28 x 28",
    ),
    "other labels": (
        {"train_images": np.zeros((60_000, 28, 28), np.uint8), "train_labels": np.full(60_000, 200, np.uint8)},
        "found label 200 in the part train, expected labels from 0 to 9",
    ),
}


@pytest.mark.parametrize(("files", "message"), NOT_KMNIST.values(), ids=NOT_KMNIST)
def test_unpacked_files_that_cannot_be_the_published_ones_are_refused(tmp_path, files, message):
    write_files(tmp_path / "KMNIST/raw", **files)
    with pytest.raises(UserError, match=rf"^kmnist: .*KMNIST/raw.*: {message}; put the published files there"):
        opened("kmnist", tmp_path)


def test_an_unpacked_file_of_kmnist_must_be_what_the_checked_archive_beside_it_holds(tmp_path, small_sets):
    folder = write_files(tmp_path / "KMNIST/raw", packed)
    for name, values in GREY.items():
        (folder / name).write_bytes(idx(values if "labels" in name else 255 - values))
    with pytest.raises(UserError, match=r"damaged \(it is not what train-images-idx3-ubyte\.gz holds\)"):
        opened("kmnist", tmp_path)


def test_missing_files_and_all_ways_out_are_named_in_one_line(tmp_path, small_sets):
    with pytest.raises(UserError) as caught:
        opened("fashion_mnist", tmp_path)
    message = (
        f"fashion_mnist: found none of its files in {tmp_path}/FashionMNIST/raw or {small_sets}, expected four of "
        "them; install Debian's package (apt-get install dataset-fashion-mnist), put train-images-idx3-ubyte.gz and "
        f"the other three, packed or unpacked, into {tmp_path}/FashionMNIST/raw, set data_folder, or set download: true"
    )
    assert str(caught.value) == message
    with pytest.raises(
        UserError, match=r"^mnist: found none of its files in \S*/MNIST/raw, expected four of them; put "
    ):
        opened("mnist", tmp_path)


def test_a_file_that_is_missing_among_others_is_named(tmp_path, small_sets):
    (write_files(tmp_path / "MNIST/raw") / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"^mnist: found no t10k-labels-idx1-ubyte in .*MNIST/raw, expected all four"):
        opened("mnist", tmp_path)


@pytest.mark.parametrize("damage", ["cut", "cut archive", "wrong magic", "labels missing"])
def test_a_damaged_idx_file_is_one_line(tmp_path, small_sets, damage):
    folder = write_files(tmp_path / "MNIST/raw", packed if damage == "cut archive" else plain)
    if damage == "labels missing":
        (folder / "train-labels-idx1-ubyte").write_bytes(idx(GREY["train-labels-idx1-ubyte"][:-1]))
    else:
        [images] = folder.glob("train-images*")
        content = images.read_bytes()
        images.write_bytes(b"\x01" + content[1:] if damage == "wrong magic" else content[:-100])
    with pytest.raises(UserError, match=r"^mnist: .*damaged.*; put the published files? there") as caught:
        opened("mnist", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_of_a_package_is_installed_again(tmp_path, small_sets):
    folder = write_files(small_sets, repacked)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"not packed")
    with pytest.raises(UserError, match=r"install it again \(apt-get install --reinstall dataset-fashion-mnist\)"):
        opened("fashion_mnist", tmp_path)


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"file://{tmp_path}/nowhere/"])
    with pytest.raises(UserError, match=r"^mnist: MNIST could not be downloaded to .*; check the network") as caught:
        open_source({"source": "mnist", **SIZES}, tmp_path / "data", download=True)
    assert "\n" not in str(caught.value)


def test_a_download_is_made_where_it_is_allowed(tmp_path, small_sets, monkeypatch):
    from torchvision import datasets

    handler = partial(SilentHandler, directory=write_files(tmp_path / "mirror", packed))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        data = open_source({"source": "mnist", **SIZES}, tmp_path / "data", download=True)
        server.shutdown()
    assert np.array_equal(data.train.items[:, 0], GREY["train-images-idx3-ubyte"])


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_the_names_of_classes_that_a_config_may_use_are_those_of_the_sets():
    from torchvision import datasets

    for source, reader in (
        ("mnist", datasets.MNIST),
        ("fashion_mnist", datasets.FashionMNIST),
        ("kmnist", datasets.KMNIST),
    ):
        assert CLASS_NAMES[source] == tuple(str(name).partition(" - ")[0] for name in reader.classes)
    assert (
        CLASS_NAMES["digits"] == open_source({"source": "digits", **SIZES, "train_size": 20}, Path(), False).class_names
    )


# CIFAR: pickled batches in a tar


def cifar_pixels(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def cifar10_files():
    """The files of cifar-10-batches-py, two images to a batch: rows are 1024 red, 1024 green, 1024 blue values."""
    files = {}
    for number, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        batch = {"data": cifar_pixels(2, number).reshape(2, 3072), "labels": [number, 9 - number]}
        files[name] = pickle.dumps(batch, protocol=2)
    files["batches.meta"] = pickle.dumps({"label_names": [f"class{k}" for k in range(10)]}, protocol=2)
    return files


@pytest.fixture
def cifar10_archive(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    files = cifar10_files()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(packed.getvalue())
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(packed.getvalue()))
    monkeypatch.setattr(
        CIFAR10, "train_list", [[f"data_batch_{k}", md5(files[f"data_batch_{k}"])] for k in range(1, 6)]
    )
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(files["test_batch"])]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(files["batches.meta"])}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return tmp_path


def test_cifar10_is_read_from_its_archive(cifar10_archive):
    data = open_source({"source": "cifar10", **SIZES}, cifar10_archive, download=False)
    assert np.array_equal(data.train.items, np.concatenate([cifar_pixels(2, seed) for seed in range(5)]))
    assert data.train.targets.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert np.array_equal(data.test.items, cifar_pixels(2, 5))
    assert data.class_names[7] == "class7"
    assert data.image_shape == (3, 32, 32)


def test_a_changed_cifar_batch_is_never_unpickled(cifar10_archive, tmp_path):
    settings = {"source": "cifar10", **SIZES}
    open_source(settings, cifar10_archive, download=False)
    (cifar10_archive / "cifar-10-python.tar.gz").unlink()
    (cifar10_archive / "cifar-10-batches-py/data_batch_2").write_bytes(b"cos\nsystem\n(S'touch broken'\ntR.")
    with pytest.raises(UserError, match="cifar10: CIFAR10 not found or damaged"):
        open_source(settings, cifar10_archive, download=False)


def test_cifar100_takes_the_fine_labels(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    files = {
        "train": {"data": cifar_pixels(2, 0).reshape(2, -1), "fine_labels": [99, 4], "coarse_labels": [1, 2]},
        "test": {"data": cifar_pixels(1, 1).reshape(1, -1), "fine_labels": [50], "coarse_labels": [3]},
        "meta": {"fine_label_names": [f"fine{k}" for k in range(100)]},
    }
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    sums = {name: md5((folder / name).read_bytes()) for name in files}
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {"filename": "meta", "key": "fine_label_names", "md5": sums["meta"]})
    data = open_source({"source": "cifar100", **SIZES}, tmp_path, download=False)
    assert data.train.targets.tolist() == [99, 4]
    assert data.class_names[99] == "fine99"
    assert np.array_equal(data.train.items, cifar_pixels(2, 0))


# Parts of sets


def test_a_part_keeps_the_shares_of_the_classes():
    targets = np.repeat([0, 1, 2], [60, 30, 10])
    chosen = stratified_positions(targets, 20, seed=0, key="train_size")
    assert np.bincount(targets[chosen]).tolist() == [12, 6, 2]
    assert np.all(np.diff(chosen) > 0)
    assert np.array_equal(chosen, stratified_positions(targets, 20, seed=0, key="train_size"))
    assert not np.array_equal(chosen, stratified_positions(targets, 20, seed=1, key="train_size"))


def test_shares_that_are_no_whole_numbers_add_up():
    chosen = stratified_positions(np.arange(90) % 9, 31, seed=0, key="train_size")
    counts = np.bincount(np.arange(90)[chosen] % 9)
    assert counts.sum() == 31
    assert set(counts.tolist()) == {3, 4}


@pytest.mark.parametrize("size", [2, 101])
def test_a_part_cannot_be_bigger_than_the_whole_or_lack_a_class(size):
    with pytest.raises(UserError, match=rf"mnist: train_size: found {size}, expected 3 .* to 100"):
        stratified_positions(np.arange(100) % 3, size, seed=0, key="mnist: train_size")


def test_sizes_choose_among_the_given_parts(tmp_path, small_sets):
    write_files(tmp_path / "MNIST/raw")
    settings = {"source": "mnist", "train_size": 10, "test_size": 20, "seed": 3}
    data = open_source(settings, tmp_path, download=False)
    assert sorted(data.train.targets.tolist()) == list(range(10))
    assert len(data.test.targets) == 20
    of_train = {image.tobytes() for image in GREY["train-images-idx3-ubyte"]}
    assert {image.tobytes() for image in data.train.items} <= of_train


# Folders of class folders

FOLDER = {"source": "folder", "root": "pets", "resize": 16, "size": 12, **SIZES}


@pytest.fixture
def pets(tmp_path):
    """train/ and val/ of two classes, one PNG each, in which class and part can be told by the colour."""
    root = tmp_path / "pets"
    for part, level in (("train", 50), ("val", 200)):
        for red, label in ((0, "cat"), (255, "dog")):
            folder = root / part / label
            folder.mkdir(parents=True)
            Image.new("RGB", (20, 16), (red, level, 7)).save(folder / "one.png")
    return root


def decoded(part):
    images, complaints = part.decode(part.items)
    assert not complaints
    return images


def test_a_folder_of_class_folders(pets, tmp_path):
    data = open_source(FOLDER, tmp_path, download=False)
    assert data.class_names == ("cat", "dog")
    assert data.train.targets.tolist() == data.test.targets.tolist() == [0, 1]
    assert data.image_shape == (3, 12, 12)
    assert decoded(data.train)[:, :, 5, 5].tolist() == [[0, 50, 7], [255, 50, 7]]
    assert decoded(data.test)[:, :, 5, 5].tolist() == [[0, 200, 7], [255, 200, 7]]


def test_files_that_are_no_images_are_passed_over(pets, tmp_path):
    (pets / "train/cat/notes.txt").write_text("no image")
    (pets / "train/cat/.DS_Store").write_bytes(b"x")
    (pets / "train/cat/._one.png").write_bytes(b"what macOS leaves on foreign disks")
    (pets / "train/readme.md").write_text("no class")
    (pets / "train/.cache").mkdir()
    deeper = pets / "train/dog/images"
    deeper.mkdir()
    Image.new("RGB", (16, 16), (9, 9, 9)).save(deeper / "two.PNG")
    data = open_source(FOLDER, tmp_path, download=False)
    assert [Path(file.path).name for file in data.train.items] == ["one.png", "two.PNG", "one.png"]
    assert data.train.targets.tolist() == [0, 1, 1]


def test_what_cannot_be_read_as_an_image_is_named_before_anything_is_decoded(pets, tmp_path):
    cats = pets / "train/cat"
    (cats / "dropped.png").symlink_to("/nonexistent/object.png")
    (cats / "itself.png").symlink_to("itself.png")
    (cats / "again").symlink_to("../cat")
    os.mkfifo(cats / "pipe.jpg")
    os.mkfifo(cats / "control")  # no image by its name
    with pytest.raises(UserError, match=r"^.*pets/train: found 4 entries that are no images: ") as caught:
        open_source(FOLDER, tmp_path, download=False)
    for line in (
        "train/cat/dropped.png (a link that leads nowhere)", "train/cat/itself.png (a link that leads to itself)",
        "train/cat/again (a link to a folder that it lies in)", "train/cat/pipe.jpg (a pipe, socket or device)",
    ):  # fmt: skip
        assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_links_to_images_and_to_class_folders_are_followed(pets, tmp_path):
    (pets / "train/cat/copy.png").symlink_to(pets / "train/dog/one.png")
    for part in ("train", "val"):
        (pets / part / "emu").symlink_to(pets / "val/dog")
    data = open_source(FOLDER, tmp_path, download=False)
    assert data.class_names == ("cat", "dog", "emu")
    assert data.train.targets.tolist() == [0, 0, 1, 2]


def test_a_class_whose_name_is_not_utf8_or_whose_link_leads_nowhere_is_named(pets, tmp_path):
    os.mkdir(os.fsencode(pets / "train") + b"/caf\xe9")
    with pytest.raises(UserError, match=r"train/caf\\udce9: found a class folder whose name is not UTF-8"):
        open_source(FOLDER, tmp_path, download=False)
    os.rmdir(os.fsencode(pets / "train") + b"/caf\xe9")
    (pets / "train/emu").symlink_to("/nonexistent")
    with pytest.raises(UserError, match=r"train/emu: found a link that leads nowhere in the place of a class"):
        open_source(FOLDER, tmp_path, download=False)


def test_a_file_whose_name_is_not_utf8_is_read_and_can_be_named(pets, tmp_path):
    name = os.fsencode(pets / "train/cat") + b"/\xe9t\xe9.png"
    os.rename(pets / "train/cat/one.png", name)
    assert len(decoded(open_source(FOLDER, tmp_path, download=False).train)) == 2
    with open(name, "wb") as file:
        file.write(b"broken")
    data = open_source(FOLDER, tmp_path, download=False)
    [complaint] = data.train.decode(data.train.items)[1]
    assert complaint.encode().decode().endswith("JPEG, PNG, WEBP, TIFF, BMP, PPM)")


def test_classes_of_train_and_val_must_agree(pets, tmp_path):
    (pets / "val/emu").mkdir()
    with pytest.raises(UserError, match=r"found 1 classes in val that train lacks \(emu\)"):
        open_source(FOLDER, tmp_path, download=False)


def test_a_class_without_images_is_refused(pets, tmp_path):
    (pets / "val/dog/one.png").unlink()
    with pytest.raises(UserError, match=r"val/dog: found no image"):
        open_source(FOLDER, tmp_path, download=False)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"pets/train: not found; expected a folder with one folder of images per class"
    ):
        open_source(FOLDER, tmp_path, download=False)


def test_files_that_do_not_decode_are_named(pets, tmp_path):
    (pets / "train/cat/empty.jpg").touch()
    whole = (pets / "train/cat/one.png").read_bytes()
    (pets / "train/cat/half.png").write_bytes(whole[: len(whole) // 2])
    (pets / "train/dog/text.jpeg").write_text("no image")
    data = open_source(FOLDER, tmp_path, download=False)
    _, complaints = decode_files(data.train.items, resize=16, size=12)
    assert [Path(complaint.split(" (")[0]).name for complaint in complaints] == ["empty.jpg", "half.png", "text.jpeg"]
    assert all("\n" not in complaint for complaint in complaints)


@pytest.mark.parametrize("shape", [(37, 50), (50, 37), (40, 40), (24, 61), (20, 20), (300, 199)])
def test_an_image_is_resized_and_cropped_as_torchvision_does(tmp_path, shape):
    from torchvision.transforms import CenterCrop, Compose, Resize

    path = tmp_path / "image.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)).save(path)
    expected = np.asarray(Compose([Resize(24), CenterCrop(17)])(Image.open(path))).transpose(2, 0, 1)
    assert np.array_equal(decode_image(str(path), resize=24, size=17), expected)


RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize(
    ("make", "suffix", "color"),
    [
        (lambda: Image.new("L", (8, 8), 90), "png", (90, 90, 90)),
        (lambda: Image.new("1", (8, 8), 1), "png", (255, 255, 255)),
        (lambda: Image.new("RGBA", (8, 8), (*GREEN, 255)), "png", GREEN),
        (lambda: Image.new("LA", (8, 8), (90, 255)), "png", (90, 90, 90)),
        (lambda: Image.new("RGB", (8, 8), GREEN).convert("P"), "png", GREEN),
        (lambda: Image.new("RGB", (8, 8), RED).convert("CMYK"), "jpg", (254, 0, 0)),
        (lambda: Image.fromarray(np.full((8, 8), 0x5A12, dtype=np.uint16)), "png", (0x5A, 0x5A, 0x5A)),
    ],
    ids=["grey", "black and white", "alpha", "grey alpha", "palette", "CMYK", "16 bits"],
)
def test_every_kind_of_image_becomes_rgb(tmp_path, make, suffix, color):
    path = tmp_path / f"image.{suffix}"
    make().save(path)
    pixel = decode_image(str(path), resize=8, size=8)[:, 4, 4].astype(int)
    assert np.abs(pixel - color).max() <= 3  # JPEG rounds


def test_the_orientation_in_the_exif_data_is_applied(tmp_path):
    """Orientation 6: what is stored must be turned by 90 degrees clockwise; its left side becomes the top."""
    stored = Image.new("RGB", (8, 8), RED)
    stored.paste(GREEN, (0, 0, 4, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "image.png", exif=exif)
    image = decode_image(str(tmp_path / "image.png"), resize=8, size=8)
    assert tuple(image[:, 1, 4]) == GREEN
    assert tuple(image[:, 6, 4]) == RED


# Glyphs


def test_glyphs_have_the_asked_shape_and_balanced_classes():
    settings = {"source": "glyphs", "classes": 62, "size": 32, "train_size": 620, "test_size": 124, "seed": 0}
    data = open_source(settings, Path("nowhere"), download=False)
    assert np.bincount(data.train.targets).tolist() == [10] * 62
    assert np.bincount(data.test.targets).tolist() == [2] * 62
    assert data.image_shape == (3, 32, 32)
    assert "".join(data.class_names) == CHARACTERS[:62]
    assert len(set(CHARACTERS)) == 70
    assert decoded(data.test).shape == (124, 3, 32, 32)


def glyphs(positions, part=0, classes=47, size=20, seed=0, variation=1.0):
    return draw_glyphs(positions, part, classes, size, seed, variation)[0]


def test_an_image_depends_on_seed_part_and_position_alone():
    first = glyphs(range(12))
    assert np.array_equal(glyphs(range(4, 8)), first[4:8])
    assert np.array_equal(glyphs([7, 3]), first[[7, 3]])
    for other in (glyphs(range(12), part=1), glyphs(range(12), seed=1)):
        assert not np.any(np.all(other == first, axis=(1, 2, 3)))


def test_glyphs_without_variation_differ_in_font_and_stroke_alone_and_are_white_on_black():
    images = glyphs(range(0, 47 * 200, 47), variation=0.0)
    assert (images == images[:, :1]).all()  # grey
    assert (images[:, :, 0, 0] == 0).all()  # a corner
    assert images.max() == 255
    # 20 fonts in at most 4 strokes (as it is, bolder by one or two, an outline)
    assert 20 < len({image.tobytes() for image in images}) <= 80


def test_less_variation_draws_the_same_characters_closer_together():
    spread = [glyphs(range(0, 47 * 60, 47), variation=v).astype(float).std(axis=0).mean() for v in (1.0, 0.5, 0.0)]
    assert spread[0] > 1.2 * spread[1] > 1.2**2 * spread[2]
    assert np.array_equal(glyphs(range(5)), glyphs(range(5), variation=1.0))


def test_glyphs_of_one_class_differ_and_use_the_range():
    images = glyphs(range(0, 47 * 40, 47), size=32)
    assert len({image.tobytes() for image in images}) == 40
    assert images.std(axis=(1, 2, 3)).min() > 15  # ink can be told from paper in every one
    assert images.mean(axis=(2, 3)).std(axis=0).min() > 30  # and colours differ from image to image


def test_characters_can_be_told_apart():
    """A nearest-neighbour reader of posed masks does much better than chance, and far from perfectly."""
    from sklearn.neighbors import KNeighborsClassifier

    train, test = (glyphs(range(count), part=part, classes=10) for part, count in ((0, 1000), (1, 300)))

    def edges(images):
        """Grey levels relative to the image's median, without sign: ink stands out whatever its colour."""
        grey = images.astype(float).mean(axis=1).reshape(len(images), -1)
        level = np.abs(grey - np.median(grey, axis=1, keepdims=True))
        return level / np.linalg.norm(level, axis=1, keepdims=True)

    reader = KNeighborsClassifier(5).fit(edges(train), np.arange(1000) % 10)
    accuracy = reader.score(edges(test), np.arange(300) % 10)
    assert 0.3 < accuracy < 0.9
