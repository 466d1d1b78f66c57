"""What figures read of tidy tables."""

from pathlib import Path

import pandas as pd

from mcoherence.figures.reading import image_stores, rows_of_training_sample


def test_stores_of_images_are_known_by_the_folder_of_their_data_set():
    stores = image_stores([Path("results/s/data/digits/images.h5"), Path("results/s/data/mnist/images.h5")])
    assert stores.to_dict("list") == {
        "dataset": ["digits", "mnist"],
        "path": ["results/s/data/digits/images.h5", "results/s/data/mnist/images.h5"],
    }


def test_the_training_sample_is_measured_on_the_whole_network_and_the_full_set():
    rows = [
        ("full", "train", "model"),
        ("easy", "train", "model"),
        ("full", "heldout", "model"),
        ("full", "train", "l"),
    ]
    table = pd.DataFrame(rows, columns=["subset", "group", "layer"])
    assert rows_of_training_sample(table).index.tolist() == [0]
