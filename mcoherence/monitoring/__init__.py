"""Coherence while a network trains, in anybody's own training loop: a fixed probe sample, measured on a schedule."""
