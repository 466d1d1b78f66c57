"""The error of a model that cannot be measured, by the path where it has always been caught."""

from mcoherence.gradients.given.refusal import UnsupportedModelError as UnsupportedModelError
