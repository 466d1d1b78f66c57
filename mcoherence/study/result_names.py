"""Names that writers and readers of a run's result files share; light, so that a reader need not load torch."""

EVALUATION_SCHEMA = "mcoherence/evaluation/1"
COHERENCE_SCHEMA = "mcoherence/coherence/1"
CONTRIBUTIONS_SCHEMA = "mcoherence/contributions/2"
DIFFICULTY_COHERENCE_SCHEMA = "mcoherence/difficulty_coherence/1"

# Groups of measured examples, in the order of coherence.h5: training examples whose label is the original one, those
# whose label was changed, and test examples.
GROUPS = ("pristine", "corrupt", "heldout")
PRISTINE, CORRUPT, HELDOUT = range(3)

# Groups of difficulty_coherence.h5: the parts of split.h5.
DIFFICULTY_GROUPS = ("easy_train", "easy_test", "hard_train", "hard_test", "random_train", "random_test")

# Shards: of evaluation.h5 the examples of a shard; of a measurement the sums of a shard, with S itself.
EVALUATION_SHARD_SCHEMA = "mcoherence/evaluation_shard/1"
SHARD_SCHEMAS = {
    COHERENCE_SCHEMA: "mcoherence/coherence_shard/1",
    CONTRIBUTIONS_SCHEMA: "mcoherence/contributions_shard/1",
    DIFFICULTY_COHERENCE_SCHEMA: "mcoherence/difficulty_coherence_shard/1",
}


def measurement_schema(result: str) -> str:
    """The schema of a measured result by its name: coherence, coherence_mM, contributions or difficulty_coherence."""
    schemas = {"contributions": CONTRIBUTIONS_SCHEMA, "difficulty_coherence": DIFFICULTY_COHERENCE_SCHEMA}
    return schemas.get(result, COHERENCE_SCHEMA)
