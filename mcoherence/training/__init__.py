"""Training: a pure function of images, labels, subset, settings and seed, in segments that survive a kill."""
