"""Which images of a folder agree with the rest? A torchvision network on a folder with one folder of images a class.

    python examples/image_folder.py [FOLDER]

Without a folder scikit-learn's digits are written to one, and every twentieth is put into the folder of the next digit.
"""

import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models.resnet import BasicBlock, ResNet

from mcoherence import example_statistics, with_sample_statistics


def write_digits(folder: Path, count: int = 300) -> None:
    """PNG files named by number and digit, in a folder for each class."""
    images, digits = load_digits(return_X_y=True)
    for i, (pixels, digit) in enumerate(zip(images[:count], digits, strict=False)):
        place = folder / str((digit + (i % 20 == 0)) % 10)
        place.mkdir(exist_ok=True)
        image = Image.fromarray((pixels.reshape(8, 8) * 15).astype("uint8")).resize((32, 32))
        image.save(place / f"{i:03d}_is_{digit}.png")


def main(folder: Path, epochs: int = 2) -> pd.DataFrame:
    """Train on the images of a folder; a row for each, its file and how its gradient agrees with the rest."""
    torch.manual_seed(0)
    images = ImageFolder(folder, transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()]))
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=len(images.classes))  # half a resnet18
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(epochs):
        for inputs, targets in DataLoader(images, batch_size=50, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()

    # Measured in the order of the files, with batch norm by the statistics of the images that are measured.
    batches = list(DataLoader(images, batch_size=50))
    measured = with_sample_statistics(model, batches)
    loss = nn.CrossEntropyLoss(reduction="none")
    examples = example_statistics(measured, loss, batches, along="sum", leave_one_out=True)
    print(examples)
    print(f"{examples.share_helped('sum'):.0%} of the images are helped by a step for all others")

    table = examples.to_dataframe()
    table.insert(1, "file", [str(Path(file).relative_to(folder)) for file, _ in images.imgs])
    table = table.sort_values("dot_sum_of_others")
    print("Those whose loss a step for all others would raise most:")
    print(table.head(10).to_string(index=False))
    return table


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            write_digits(Path(temporary))
            main(Path(temporary))
