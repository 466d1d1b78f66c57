"""Networks by name, with a stated start, and checkpoints that know which network they hold.

Index letters: n images, C channels, H and W pixels. torchvision is imported only where one of its networks is built.
"""

from mcoherence.models.build import build_model
from mcoherence.models.checkpoints import load_checkpoint, read_checkpoint_metadata, save_checkpoint

__all__ = ["build_model", "load_checkpoint", "read_checkpoint_metadata", "save_checkpoint"]
