"""HDF5 files that somebody edited with h5py: whatever leads out of the file, or is not of its layout, is named."""

import json

import h5py
import numpy as np
import pytest

from mcoherence.data.store import IMAGES_SCHEMA, LABELS_SCHEMA
from mcoherence.data.subsets import SPLIT_SCHEMA
from mcoherence.errors import UserError
from mcoherence.files.hdf5 import check_content, open_hdf5, read_hdf5, write_hdf5
from mcoherence.files.layouts import LAYOUTS
from mcoherence.gradients import storing
from mcoherence.measuring.difficulty import DIFFICULTY_SCHEMA
from mcoherence.study.result_names import SCHEMAS
from mcoherence.study.results import RESULTS

IMAGES = np.arange(5 * 4, dtype=np.uint8).reshape(5, 1, 2, 2)
CONTENT = {"train/images": IMAGES, "train/targets": np.array([0, 1, 2, 1, 0]), "test/images": IMAGES[:2]}
CONTENT["test/targets"] = np.array([2, 0])
ATTRIBUTES = {"mean": [0.5], "std": [0.25], "class_names": ["a", "b", "c"]}


@pytest.fixture
def path(tmp_path):
    write_hdf5(tmp_path / "images.h5", IMAGES_SCHEMA, CONTENT, ATTRIBUTES)
    return tmp_path / "images.h5"


def refusal(path, schema=IMAGES_SCHEMA):
    """What reading says, which is one line that names the file once."""
    with pytest.raises(UserError) as caught:
        read_hdf5(path, schema)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def external_link(file):
    file["train/images"] = h5py.ExternalLink("/etc/passwd", "secret")


def soft_link(file):
    file["train/images"] = h5py.SoftLink("/test/images")


def dangling_link(file):
    file["train/images"] = h5py.SoftLink("/nowhere")


def circular_link(file):
    file["train/images"] = h5py.SoftLink("/train/images")


def virtual(file):
    layout = h5py.VirtualLayout(shape=IMAGES.shape, dtype=np.uint8)
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "secret", shape=IMAGES.shape)
    file.create_virtual_dataset("train/images", layout)


def raw_storage_elsewhere(file):
    file.create_dataset("train/images", IMAGES.shape, np.uint8, external=[("/etc/passwd", 0, IMAGES.nbytes)])


def user_defined_filter(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(IMAGES.shape)
    plist.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple(IMAGES.shape)
    h5py.h5d.create(file["train"].id, b"images", h5py.h5t.NATIVE_UINT8, space, plist)


def many_bytes(file):
    file.create_dataset("train/images", (10**10, 1, 32, 32), np.uint8, chunks=(1, 1, 32, 32), compression="gzip")


def group(file):
    file.create_group("train/images")


def scalar(file):
    file["train/images"] = np.uint8(3)


def no_space(file):
    file["train/images"] = h5py.Empty("u1")


def floats(file):
    file["train/images"] = IMAGES / 255


def flat(file):
    file["train/images"] = IMAGES[:, 0, 0]


def of_other_images(file):
    file["train/images"] = IMAGES[:4]


def nothing(file):
    pass


@pytest.mark.parametrize(
    ("instead", "named"),
    [
        (external_link, "train/images is an external link to another file ('/etc/passwd')"),
        (soft_link, "train/images is a soft link ('/test/images')"),
        (dangling_link, "train/images is a soft link"),
        (circular_link, "train/images is a soft link"),
        (virtual, "train/images is a virtual data set"),
        (raw_storage_elsewhere, "train/images has its values in an external file"),
        (user_defined_filter, "train/images is stored by the filters [32001]"),
        (many_bytes, "train/images says that it has 10,240,000,000,000 bytes"),
        (group, "train/images is a group, expected a dataset"),
        (no_space, "train/images"),
        (nothing, "incomplete, train/images is missing"),
        (scalar, "train/images"),
        (floats, "train/images"),
        (flat, "train/images"),
        (of_other_images, "train/images"),
    ],
)
def test_what_stands_in_the_place_of_a_data_set_is_named(path, instead, named):
    with h5py.File(path, "a") as file:
        del file["train/images"]
        instead(file)
    assert named in refusal(path)


@pytest.mark.parametrize(
    ("name", "values", "named"),
    [
        ("train/images", IMAGES / 255, "train/images has values of type float64, expected pixels"),
        ("train/images", IMAGES.astype(np.uint16), "train/images has values of type uint16, expected pixels"),
        ("train/images", IMAGES[:, 0, 0], r"train/images has the shape [5, 2], expected 4 axes (N C H W)"),
        ("train/images", IMAGES[:4], "train/targets has the shape [5], expected 4 along N, as train/images has"),
        ("test/images", np.zeros((2, 3, 2, 2), np.uint8), "[2, 3, 2, 2], expected 1 along C"),
        ("train/targets", np.array([0, 1, 2, 1, -1]), "train/targets has a value of -1, expected none below 0"),
        ("train/targets", np.array([0, 1, 2, 1, 2**40]), "train/targets has a value of 1099511627776, expected less"),
        ("train/targets", np.array([0.0, 1, 2, 1, 0]), "train/targets has values of type float64, expected integer"),
        ("train/targets", ["a"] * 5, "train/targets has values of type object, expected integer"),
        ("std", [0.0], "attribute std is [0.0], expected finite values above 0"),
        ("std", [np.nan], "attribute std is [nan]"),
        ("mean", [0.5, 0.5], "attribute"),
        ("class_names", ["a"] * 3000, "class_names has 3000 entries for values up to 2, expected 3"),
        ("class_names", ["a"], "expected less than the 1 entries of attribute class_names"),
        ("class_names", [1.0, 2.0, 3.0], "attribute class_names has values of type float64, expected text"),
        ("valid/images", IMAGES, "valid/images is no data set of mcoherence/images/"),
    ],
)
def test_what_is_not_of_the_layout_is_neither_written_nor_read(tmp_path, monkeypatch, name, values, named):
    path = tmp_path / "images.h5"
    content, attributes = dict(CONTENT), dict(ATTRIBUTES)
    (attributes if name in attributes else content)[name] = values
    with pytest.raises(UserError) as caught:
        write_hdf5(path, IMAGES_SCHEMA, content, attributes)
    assert named in str(caught.value)
    assert not path.exists()

    with monkeypatch.context() as patch:  # one whose seals are right
        patch.setattr("mcoherence.files.hdf5.check_layout", lambda *_: None)
        write_hdf5(path, IMAGES_SCHEMA, content, attributes)
    assert named in refusal(path)


@pytest.mark.parametrize("attribute", ["schema", "contents", "digests", "seal", "mean"])
def test_a_missing_or_changed_attribute_is_one_line(path, attribute):
    content = path.read_bytes()
    with h5py.File(path, "a") as file:
        del file.attrs[attribute]
    refusal(path)
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        file.attrs[attribute] = np.arange(3)
    refusal(path)


def test_an_attribute_or_data_set_that_the_file_never_had_is_one_line(tmp_path):
    write_hdf5(tmp_path / "images.h5", IMAGES_SCHEMA, {"train/images": IMAGES}, {})
    with open_hdf5(tmp_path / "images.h5", IMAGES_SCHEMA) as file:
        with pytest.raises(UserError, match=r"images\.h5: incomplete, it has no attribute mean"):
            file.attrs["mean"]
        for name in ("train/targets", "nowhere"):
            with pytest.raises(UserError, match=rf"images\.h5: incomplete, {name} is missing"):
                file[name]


def test_values_changed_with_h5py_are_noticed(path):
    with h5py.File(path, "a") as file:
        file["train/targets"][:] = [0, 1, 2, 0, 0]
    assert "images.h5: " in refusal(path)
    with pytest.raises(UserError):
        check_content(path)


def test_a_file_of_an_earlier_version_is_refused_with_the_way_out(tmp_path):
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file.attrs.update({"schema": "mcoherence/labels/1", "contents": json.dumps(["labels"])})
        file["labels"] = np.zeros(3, np.int64)
    assert refusal(tmp_path / "labels.h5", LABELS_SCHEMA).endswith(
        f"labels.h5: found mcoherence/labels/1, expected {LABELS_SCHEMA}; delete the file and run again"
    )


def test_a_file_that_may_not_be_read_is_not_called_damaged(path, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mcoherence.files.hdf5.h5py.File", forbidden)
    assert "cannot be read now (Permission denied)" in refusal(path)


def test_a_file_that_is_being_written_is_not_called_damaged(path):
    with h5py.File(path, "a"):
        said = refusal(path)
    assert "cannot be read now" in said
    assert "damaged" not in said


def test_errors_of_the_block_are_left_alone(path):
    for error in (OSError("disk full"), KeyError("x"), ValueError("bug")):
        with pytest.raises(type(error)), open_hdf5(path, IMAGES_SCHEMA):
            raise error
    with pytest.raises(IndexError), open_hdf5(path, IMAGES_SCHEMA) as file:
        file["train/targets"][17]


def test_every_schema_has_a_layout():
    of_results = {
        schema for name, schemas in SCHEMAS.items() for schema in (schemas if RESULTS[name].shards else [schemas.whole])
    }
    of_library = {IMAGES_SCHEMA, LABELS_SCHEMA, SPLIT_SCHEMA, DIFFICULTY_SCHEMA, storing.SUMS, storing.EXAMPLES}
    assert of_results | of_library == set(LAYOUTS)
