"""One pure rule per layer type: the squared norms of the per-example gradients of that layer's own parameters.

Index letters: n examples, t positions, d inputs of a layer, p outputs of a layer.

A rule sees what went into one call of the layer and the gradient of the summed loss with respect to what came out,
and returns {parameter name within the layer: |g_i|^2, float64 [n]}. It never touches modules or parameters. A rule that
meets a setting it does not model raises `NotModelledError` and never ignores it; the caller then falls back
(`gradients.batch.fallback`).
"""
