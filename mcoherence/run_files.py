"""Names that writers and readers of a run's result files share; light, so that a reader need not load torch."""

EVALUATION_SCHEMA = "mcoherence/evaluation/1"
COHERENCE_SCHEMA = "mcoherence/coherence/1"
DIFFICULTY_COHERENCE_SCHEMA = "mcoherence/difficulty_coherence/1"

# Groups of measured examples, in the order of coherence.h5: training examples whose label is the original one, those
# whose label was changed, and test examples.
GROUPS = ("pristine", "corrupt", "heldout")
PRISTINE, CORRUPT, HELDOUT = range(3)

# Groups of difficulty_coherence.h5: the parts of split.h5.
DIFFICULTY_GROUPS = ("easy_train", "easy_test", "hard_train", "hard_test", "random_train", "random_test")

# Shards of either file: of evaluation.h5 the examples of a shard, of coherence.h5 the sums of a shard, with S itself.
EVALUATION_SHARD_SCHEMA = "mcoherence/evaluation_shard/1"
COHERENCE_SHARD_SCHEMA = "mcoherence/coherence_shard/1"
