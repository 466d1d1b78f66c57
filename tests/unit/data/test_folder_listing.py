"""A folder of images that changed is told from one that was copied, without reading an image."""

import os
import shutil

import pytest

from mcoherence.data.folder_listing import has_changed, keep_listing, listing


@pytest.fixture
def folder(tmp_path):
    """A folder of 40 images and images.h5 that was made from it."""
    root = tmp_path / "photos"
    for part in ("train", "val"):
        for kind in ("cat", "dog"):
            (root / part / kind).mkdir(parents=True)
            for number in range(10):
                (root / part / kind / f"{number}.png").write_bytes(bytes([number]) * 20)
    keep_listing(tmp_path / "images.h5", root, listing(root))
    return root


def changed(folder):
    return has_changed(folder.with_name("images.h5"), folder)


def test_what_was_not_touched_or_was_copied_with_its_stamps_is_the_same(folder):
    (folder / "train/cat/.hidden").write_text("passed over")
    assert not changed(folder)
    shutil.copytree(folder, folder.with_name("copy"))
    assert not has_changed(folder.with_name("images.h5"), folder.with_name("copy"))
    assert not has_changed(folder.with_name("images.h5"), folder.with_name("gone"))
    assert not has_changed(folder.with_name("nothing.h5") / "images.h5", folder)


@pytest.mark.parametrize(
    "edit", ["added", "removed", "another size", "another stamp", "same size and stamp", "renamed"]
)
def test_one_image_that_was_changed_is_noticed(folder, edit):
    image = folder / "train/dog/3.png"
    stamp = image.stat()
    if edit == "added":
        image.with_name("10.png").write_bytes(b"new")
        os.utime(image.with_name("10.png"), (0, 0))
    elif edit == "removed":
        image.unlink()
    elif edit == "renamed":
        image.rename(folder / "train/cat/30.png")
    else:
        image.write_bytes(b"x" * (21 if edit == "another size" else 20))
        if edit != "another stamp":
            os.utime(image, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert changed(folder)


def test_a_link_to_its_own_folder_ends(folder):
    (folder / "train/cat/again").symlink_to(folder)
    assert isinstance(listing(folder), dict)
