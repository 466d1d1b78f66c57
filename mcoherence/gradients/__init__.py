"""Sums and squared norms of per-example gradients of any torch model, exactly, in one forward and backward pass."""
