"""Batches: equal to the bit wherever the examples live, augmented by seed and draw alone, and refused when damaged."""

from functools import partial
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mcoherence.data.augmentation import augmented, cropped, random_boxes
from mcoherence.data.batches import draws_from, size_of_draw
from mcoherence.data.loading import LabelledExamples, ResidentImageLoader, StreamedImageLoader, image_loader
from mcoherence.data.preparation import prepare_images
from mcoherence.data.read_ahead import read_ahead
from mcoherence.data.sources import Source, SourcePart
from mcoherence.errors import UserError

CPU = torch.device("cpu")
SHAPE = (3, 12, 10)
SIZE = 40
BYTES = SIZE * 3 * 12 * 10  # of the pixels; inputs take four times as much
AUGMENTATION = {"crop_scale": [0.2, 1.0], "crop_ratio": [0.75, 4 / 3], "flip": 0.5}
AUGMENT = partial(augmented, settings=AUGMENTATION, seed=3)
# where the examples live -> operational settings
PLACES = {
    "inputs": {"memory_bytes": 4 * BYTES},
    "pixels": {"memory_bytes": 4 * BYTES - 1},
    "streamed": {"memory_bytes": BYTES - 1, "workers": 0},
    "streamed by workers": {"memory_bytes": BYTES - 1, "workers": 2},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, *SHAPE), dtype=np.uint8)
    images[0].flat[:256] = np.arange(256)  # every value, whatever was drawn
    part = SourcePart(images, np.arange(60) % 4)
    file = tmp_path_factory.mktemp("data") / "images.h5"
    prepare_images(file, Source(part, SourcePart(255 - images, np.arange(60) % 4), SHAPE, tuple("abcd")), {})
    return file


@pytest.mark.parametrize(
    ("workers", "batch_bytes", "room", "expected"),
    [
        (14, 77e6, 1e12, (14, 3)),  # 512 images of 150 kB: three are 231 MB
        (14, 77e6, 14 * 77e6, (14, 1)),
        (14, 77e6, 5.5 * 77e6, (5, 1)),
        (2, 64, 32e6, (2, 4)),
        (2, 1e9, 1e12, (2, 1)),
        (2, 77e6, 64e6 / 2, (0, 1)),  # a container's /dev/shm
        (0, 77e6, 1e12, (0, 3)),
    ],
)
def test_what_readers_hold_is_bounded_each_and_together(workers, batch_bytes, room, expected):
    assert read_ahead(workers, int(batch_bytes), room) == expected


def test_without_shared_memory_the_job_reads_the_same_batches_by_itself(path, positions, monkeypatch):
    alone = image_loader(path, positions, CPU, **PLACES["streamed"])
    monkeypatch.setattr("mcoherence.data.loading.shared_room", lambda: 0.0)
    without = image_loader(path, positions, CPU, **PLACES["streamed by workers"])
    for one, other in zip(alone.batches(schedule()), without.batches(schedule()), strict=True):
        assert torch.equal(one, other)
    assert list(without.batches([])) == []


@pytest.fixture(scope="module")
def positions():
    return np.concatenate([[0], np.random.default_rng(1).permutation(np.arange(1, 60))[: SIZE - 1]])


def schedule(first=0, draws=6):
    return list(islice(draws_from(0, SIZE, 16, seed=0), first, draws))


def normalized(path, part, dtype=torch.float32):
    """(pixel / 255 - mean) / std of every image of a part, shape [N, C, H, W], in float64, then rounded."""
    with h5py.File(path) as file:
        images, mean, std = file[f"{part}/images"][:], file.attrs["mean"], file.attrs["std"]
    shape = (1, -1, 1, 1)
    return torch.from_numpy((images / 255 - mean.reshape(shape)) / std.reshape(shape)).to(dtype)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_are_the_normalised_images_to_the_bit(path, positions, place, dtype):
    limit = PLACES[place]["memory_bytes"] * (2 if dtype == torch.float64 and place == "inputs" else 1)
    found = image_loader(path, positions, CPU, dtype=dtype, **PLACES[place] | {"memory_bytes": limit})
    expected = normalized(path, "train", dtype)[positions]
    kind = StreamedImageLoader if place.startswith("streamed") else ResidentImageLoader
    assert type(found) is kind
    assert (len(found), found.input_shape, found.num_classes) == (SIZE, SHAPE, 4)
    for (_, chosen), inputs in zip(schedule(), found.batches(schedule()), strict=True):
        assert inputs.dtype == dtype
        assert torch.equal(inputs, expected[chosen])


@pytest.mark.parametrize("place", PLACES)
def test_labels_come_with_their_images(path, positions, place):
    images = image_loader(path, positions, CPU, augment=AUGMENT, **PLACES[place])
    labels = torch.randint(0, 4, (SIZE,), generator=torch.Generator().manual_seed(0))
    labelled = LabelledExamples(images, labels)
    assert (len(labelled), labelled.input_shape, labelled.num_classes) == (SIZE, SHAPE, 4)
    batches = zip(schedule(), images.batches(schedule()), labelled.batches(schedule()), strict=True)
    for (_, chosen), expected, (inputs, targets) in batches:
        assert torch.equal(inputs, expected)
        assert torch.equal(targets, labels[chosen])


def test_the_size_of_every_draw_is_known_without_drawing():
    for size, batch_size in ((40, 16), (32, 16), (5, 16)):
        drawn = [(number, len(chosen)) for number, chosen in islice(draws_from(0, size, batch_size, seed=0), 9)]
        assert [(number, size_of_draw(number, size, batch_size)) for number, _ in drawn] == drawn


def test_the_test_part_is_normalised_by_the_training_part(path):
    everything = np.arange(60)
    inputs = next(image_loader(path, everything, CPU, part="test").batches([(0, everything)]))
    assert torch.equal(inputs, normalized(path, "test"))


@pytest.mark.parametrize("place", PLACES)
def test_augmented_batches_are_the_same_wherever_the_examples_live(path, positions, place):
    found = image_loader(path, positions, CPU, augment=AUGMENT, **PLACES[place])
    plain = normalized(path, "train")[positions]
    for (draw, chosen), inputs in zip(schedule(), found.batches(schedule()), strict=True):
        assert torch.equal(inputs, augmented(plain[chosen], draw, AUGMENTATION, seed=3))


@pytest.mark.parametrize("place", ["inputs", "streamed by workers"])
def test_a_run_that_goes_on_from_a_draw_sees_the_same_batches(path, positions, place):
    whole, resumed = (image_loader(path, positions, CPU, augment=AUGMENT, **PLACES[place]) for _ in range(2))
    late = list(whole.batches(schedule()))[4:]
    assert all(map(torch.equal, resumed.batches(schedule(first=4)), late))


@pytest.mark.parametrize("place", PLACES)
def test_the_random_numbers_of_the_network_are_left_alone(path, positions, place):
    """Dropout draws from torch's generator; where the examples live must not change it."""
    found = image_loader(path, positions, CPU, augment=AUGMENT, **PLACES[place])
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(found.batches(schedule()))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("place", PLACES)
def test_an_endless_schedule_can_be_left_at_any_time(path, positions, place):
    batches = image_loader(path, positions, CPU, **PLACES[place]).batches(draws_from(0, SIZE, 16, seed=0))
    assert [len(next(batches)) for _ in range(4)] == [16, 16, 8, 16]
    batches.close()


@pytest.mark.parametrize("place", PLACES)
def test_a_damaged_block_is_one_line(path, positions, place, tmp_path):
    damaged = tmp_path / "images.h5"
    content = bytearray(Path(path).read_bytes())
    with h5py.File(path) as file:
        content[file["train/images"].id.get_chunk_info(0).byte_offset + 50] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(UserError, match=r"images\.h5: damaged \(.*\); delete the file and run again") as caught:
        list(image_loader(damaged, positions, CPU, **PLACES[place]).batches(schedule()))
    assert "\n" not in str(caught.value)


# Augmentation


def test_a_crop_is_the_resized_box():
    inputs = torch.rand(5, 3, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0, 0, 10, 12], [2, 3, 5, 6], [9, 11, 1, 1], [0, 4, 10, 3], [7, 0, 3, 12]])
    for image, (left, top, width, height), result in zip(inputs, boxes.tolist(), cropped(inputs, boxes), strict=True):
        box = image[None, :, top : top + height, left : left + width]
        expected = F.interpolate(box, size=(12, 10), mode="bilinear", align_corners=False)[0]
        assert (result - expected).abs().max() < 1e-12


def test_boxes_follow_the_law_of_random_resized_crop():
    """Means over 5,000 boxes equal those of as many boxes drawn by torchvision, within five standard errors."""
    from torchvision.transforms import RandomResizedCrop

    scale, ratio, count = [0.08, 1.0], [0.75, 4 / 3], 5_000
    boxes = random_boxes(np.random.default_rng(0), count, (32, 24), scale, ratio)
    left, top, width, height = boxes.T
    assert np.all((left >= 0) & (top >= 0) & (width > 0) & (height > 0))
    assert np.all((left + width <= 24) & (top + height <= 32))
    image = torch.empty(3, 32, 24)
    torch.manual_seed(0)
    oracle = np.array([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(count)])[:, [1, 0, 3, 2]]
    for measure in (lambda box: box, lambda box: box**2, lambda box: box[:, [2]] * box[:, [3]]):
        mine, theirs = measure(boxes.astype(float)), measure(oracle.astype(float))
        error = np.sqrt((mine.var(axis=0) + theirs.var(axis=0)) / count)
        assert np.all(np.abs(mine.mean(axis=0) - theirs.mean(axis=0)) < 5 * error)


def test_a_box_that_never_fits_becomes_the_largest_in_the_middle():
    boxes = random_boxes(np.random.default_rng(0), 3, (10, 40), [1.0, 1.0], [0.5, 1.0])
    assert boxes.tolist() == [[15, 0, 10, 10]] * 3


def test_half_of_the_images_are_flipped_and_whole_images_stay_as_they_are():
    inputs = torch.rand(3, 7).expand(2000, 1, 3, 7)
    result = augmented(inputs, 0, {"crop_scale": None, "crop_ratio": [0.75, 4 / 3], "flip": 0.5}, seed=0)
    flipped = result[:, 0, 0, 0] != inputs[:, 0, 0, 0]
    assert torch.equal(result, torch.where(flipped[:, None, None, None], inputs.flip(3), inputs))
    assert abs(flipped.sum().item() - 1000) < 5 * np.sqrt(500)


def test_draws_and_seeds_differ():
    inputs = torch.rand(8, 3, 12, 10)
    first, again, other_draw, other_seed = (
        augmented(inputs, draw, AUGMENTATION, seed) for draw, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other_draw)
    assert not torch.equal(first, other_seed)
