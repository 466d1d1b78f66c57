"""Layers by the names of their parameters."""

import numpy as np
import pytest

from mcoherence.gradients.given.layer_names import by_layer, layer_indices, layer_of, layers_of

PARAMETERS = ("scale", "0.conv.weight", "0.conv.bias", "1.weight", "0.conv.gain")


def test_a_layer_is_the_module_that_owns_the_parameter():
    assert layer_of("0.conv.weight") == "0.conv"
    assert layer_of("scale") == ""  # of the model itself
    assert layers_of(PARAMETERS) == ("", "0.conv", "1")
    assert layer_indices(PARAMETERS).tolist() == [0, 1, 1, 2, 1]


def test_values_are_summed_over_the_parameters_of_a_layer():
    values = np.array([[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 0.0, 0.5, 1.0, 0.25]])
    assert by_layer(values, PARAMETERS).tolist() == [[1.0, 10.0, 4.0], [6.0, 0.75, 1.0]]
    assert by_layer(values[None, :, :0], ()).shape == (1, 2, 0)


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_layer(lost):
    sums = by_layer(np.array([1.0, 2.0, lost, 4.0, 5.0]), PARAMETERS)
    np.testing.assert_array_equal(sums, [1.0, np.nan, 4.0])
