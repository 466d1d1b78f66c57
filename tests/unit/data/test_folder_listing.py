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
    (folder / "train/cat/again").symlink_to(folder / "train")
    assert isinstance(listing(folder), dict)


@pytest.mark.parametrize(
    "edit", ["chmod", "hard link", "touched content of the same", "other files", "test and devkit"]
)
def test_what_the_reader_does_not_see_is_no_change(folder, edit):
    image = folder / "train/dog/3.png"
    if edit == "chmod":
        image.chmod(0o600)
    elif edit == "hard link":
        os.link(image, folder.with_name("kept.png"))
    elif edit == "touched content of the same":
        stamp = image.stat()
        image.write_bytes(image.read_bytes())
        os.utime(image, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    elif edit == "other files":
        (folder / "README.txt").write_text("of all")
        (folder / "train/dog/Thumbs.db").write_text("of a class")
        (folder / "train/loose.png").write_text("of no class")
    else:
        (folder / "test").mkdir()
        (folder / "test/1.png").write_bytes(b"no label")
        (folder / "results/study").mkdir(parents=True)  # where the root is the folder of the study itself
        (folder / "results/study/figure.png").write_bytes(b"drawn")
    assert not changed(folder)
    assert not changed(folder)


def test_content_is_read_once_and_an_edit_after_it_is_still_seen(folder, monkeypatch):
    image = folder / "train/dog/3.png"
    image.chmod(0o600)
    assert not changed(folder)
    with monkeypatch.context() as patched:
        patched.setattr("mcoherence.data.folder_listing._content", lambda images: pytest.fail("read again"))
        assert not changed(folder)
    stamp = image.stat()
    image.write_bytes(b"x" * 20)
    os.utime(image, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert changed(folder)
