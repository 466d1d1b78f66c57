"""One forward and backward pass of a batch: sums of gradients, squared norms of the examples' gradients."""
