"""Names that writers and readers of a run's result files share; light, so that a reader need not load torch."""

from typing import NamedTuple

EVALUATION_SCHEMA = "mcoherence/evaluation/2"
COHERENCE_SCHEMA = "mcoherence/coherence/2"
CONTRIBUTIONS_SCHEMA = "mcoherence/contributions/3"
DIFFICULTY_COHERENCE_SCHEMA = "mcoherence/difficulty_coherence/2"
CONFUSION_SCHEMA = "mcoherence/confusion/1"
EXAMPLE_SCORES_SCHEMA = "mcoherence/example_scores/1"

# What example_scores.h5 holds of every training example and checkpoint: numbers of its gradient, and of its logits.
GRADIENT_SCORES = ("sq_norm", "class_dot", "class_cosine", "all_dot", "all_cosine")
LOGIT_SCORES = ("loss", "el2n", "margin", "confidence")

# Groups of measured examples, in the order of coherence.h5: training examples whose label is the original one, those
# whose label was changed, and test examples.
GROUPS = ("pristine", "corrupt", "heldout")
PRISTINE, CORRUPT, HELDOUT = range(3)
# One more where it is asked for: the training sample with labels redrawn uniformly at every checkpoint, the null of
# what labels make of coherence.
REDRAWN = "redrawn"
# Groups that are measured by mini-batches, which mix pristine and corrupt examples.
MINIBATCH_GROUPS = ("train", "heldout")

NO_BATCH_NORM = "none"  # what is said of a network that has none, in place of the statistics that it normalises by
OWN_NETWORK = "own_network"  # the setting that names a user's own network to what loads checkpoints
BATCH = "examples_at_a_time"  # the attribute that lists sizes of batches that examples were passed in
FULL = "full"  # the subset of a run on everything


def difficulty_group(subset: str, part: str) -> str:
    """The name of a group of difficulty_coherence.h5, which is a part, train or test, of a subset in split.h5."""
    return f"{subset}_{part}"


DIFFICULTY_GROUPS = tuple(
    difficulty_group(subset, part) for subset in ("easy", "hard", "random") for part in ("train", "test")
)


class Schemas(NamedTuple):
    """The schemas of one kind of result: of the whole or a block of its checkpoints, and of a shard of the examples."""

    whole: str
    shard: str


# A shard of evaluation.h5 holds the examples of the shard; one of a measurement its sums, with S itself.
SCHEMAS = {
    "evaluation": Schemas(EVALUATION_SCHEMA, "mcoherence/evaluation_shard/2"),
    "coherence": Schemas(COHERENCE_SCHEMA, "mcoherence/coherence_shard/2"),
    "contributions": Schemas(CONTRIBUTIONS_SCHEMA, "mcoherence/contributions_shard/2"),
    "difficulty_coherence": Schemas(DIFFICULTY_COHERENCE_SCHEMA, "mcoherence/difficulty_coherence_shard/2"),
    # of the latter schemas of these there are none
    "confusion": Schemas(CONFUSION_SCHEMA, "mcoherence/confusion_shard/1"),
    "example_scores": Schemas(EXAMPLE_SCORES_SCHEMA, "mcoherence/example_scores_shard/1"),
}


OTHER_SAMPLE = "coherence_m"  # and its size M: the name of coherence on a training sample of M examples


def schemas_of(result: str) -> Schemas:
    """The schemas of a result by its name; those of coherence_mM are those of coherence."""
    return SCHEMAS["coherence" if result.startswith(OTHER_SAMPLE) else result]
