"""The command `mcoherence`: coherence and single examples of anybody's network, and result files shown and verified."""
