"""A folder of images that changes after it was prepared is noticed at the next start, and prepared again."""

import os

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.apart, pytest.mark.one_in(3)]
IMAGES = "results/miniature/data/photos/images.h5"
STUDY = """
study: miniature
experiments: [label_noise]
models: {mlp: {architecture: mlp, hidden: [4]}}
datasets: {photos: {source: folder, root: photos, size: 8, resize: 8}}
data_folder: own
training: {updates: 1, batch_size: 4, checkpoints: {every_step_until: 0, per_doubling: 1}}
label_noise: {datasets: [photos], models: [mlp], labels: [clean], optimizers: [sgd], seeds: [0]}
measurement: {sample_size: 4, heldout_size: 4}
"""


def test_one_image_in_place_of_another_prepares_the_folder_again(workflow_copy):
    folder = workflow_copy.folder
    (folder / "miniature.yaml").write_text(STUDY)
    pixels = np.random.default_rng(0).integers(0, 256, size=(32, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        path = folder / f"own/photos/{'train' if number < 24 else 'val'}/class{number % 2}/{number}.bmp"  # of one size
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    answer = workflow_copy.run("--cores", "1", "--quiet", "reason", "--", IMAGES)
    assert answer.returncode == 0, answer.stdout[-5000:]
    assert workflow_copy.planned(IMAGES) == {}
    replaced = folder / "own/photos/train/class0/4.bmp"
    stamp = replaced.stat()
    Image.fromarray(255 - pixels[4]).save(replaced)
    os.utime(replaced, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    said = workflow_copy.run("--dry-run", "--quiet", "reason", "--", IMAGES).stdout
    assert "images in own/photos were added, removed or changed (prepare_dataset 1)" in said
    assert workflow_copy.planned(IMAGES) == {"prepare_dataset": 1}
    answer = workflow_copy.run("--cores", "1", "--quiet", "reason", "--", IMAGES)
    assert answer.returncode == 0, answer.stdout[-5000:]
    assert workflow_copy.planned(IMAGES) == {}

    # What cannot be looked at is a line, and nothing is looked at for a target that needs no images.
    (folder / "own/photos/train/class0/loop").symlink_to("loop")
    refused = workflow_copy.run("--dry-run", "--quiet", "all", "--", IMAGES)
    assert refused.returncode == 1
    [line] = [line for line in refused.stdout.splitlines() if "loop" in line]
    assert line.startswith("error: ")
    assert "Traceback" not in refused.stdout
    assert workflow_copy.run("--dry-run", "--quiet", "all", "--", "plan").returncode == 0


def test_a_home_in_a_path_is_that_of_the_user_and_writing_it_in_full_makes_nothing_again(workflow_copy, monkeypatch):
    home = workflow_copy.folder.with_name("home")
    monkeypatch.setenv("HOME", str(home))
    pixels = np.random.default_rng(0).integers(0, 256, size=(32, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        path = home / f"photos/{'train' if number < 24 else 'val'}/class{number % 2}/{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    study = STUDY.replace("data_folder: own", "data_folder: ~/data").replace("root: photos", "root: ~/photos")
    (workflow_copy.folder / "miniature.yaml").write_text(study)
    answer = workflow_copy.run("--cores", "1", "--quiet", "reason", "--", IMAGES)
    assert answer.returncode == 0, answer.stdout[-5000:]
    assert not list(workflow_copy.folder.rglob("~*"))
    (workflow_copy.folder / "miniature.yaml").write_text(study.replace("~", str(home)))
    assert workflow_copy.planned(IMAGES) == {}
