"""What the columns of the tidy tables mean: one list for all tables, because a name means the same in each of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from mcoherence.errors import UserError


@dataclass(frozen=True)
class Column:
    """The unit of a column's values, "" for names and flags, and what they mean."""

    unit: str
    meaning: str


COLUMNS = {
    "dataset": Column("", "entry of the config's datasets"),
    "model": Column("", "entry of the config's models"),
    "labels": Column("", "entry of the config's labels"),
    "noise": Column("share", "training labels selected for corruption; some keep their class"),
    "optimizer": Column("", "entry of the config's optimizers"),
    "subset": Column("", "part of the training images that the run trained on: full, easy, hard, random"),
    "train_subset": Column("", "part of the training images that the run trained on: easy, hard, random"),
    "test_subset": Column("", "what the run is tested on: held-out examples of a part, or original, the test images"),
    "seed": Column("", "seed of the run: initial weights, order of the examples, corruption of the labels"),
    "step": Column("updates", "optimiser updates made before the checkpoint"),
    "epoch": Column("passes", "passes over the run's training examples made before the checkpoint"),
    "part": Column("", "examples scored: train, its pristine (label kept) and corrupt (label changed) part, test"),
    "group": Column("", "examples gathered: train or all, pristine (label kept), corrupt (label changed), heldout"),
    "layer": Column("", "layer of the network; model stands for all layers together"),
    "n": Column("examples", "how many the row is about"),
    "accuracy": Column("share", "examples predicted as their label: that trained on, or the clean one for test"),
    "loss": Column("nats", "mean cross-entropy per example"),
    "sum_sq_norm": Column("(loss/weight)²", "Q, the sum of the examples' squared gradient norms"),
    "sq_norm_of_sum": Column("(loss/weight)²", "|S|², the squared norm of the sum of the examples' gradients"),
    "m_coherence": Column("examples", "|S|²/Q: examples that a step along one's gradient helps (arXiv 2008.01217)"),
    "alpha": Column("share", "m-coherence over the number of examples (arXiv 2203.10036)"),
    "pairwise_alignment": Column("share", "mean inner product of two examples' gradients over mean squared norm"),
    "learned": Column("share", "examples that are predicted right at the last checkpoint"),
    "median_step": Column("updates", "median of the step from which an example stays right; inf where half never do"),
    "data": Column("", "regression in six dimensions: real (a shared component) or random (none)"),
    "trained_on": Column("examples", "how many, from the first on, descent takes the mean loss of"),
    "measured": Column("examples", "how many, from the first on, mean gradient and coherence are of"),
    "train_loss": Column("half squared error", "mean over the examples trained on"),
    "test_loss": Column("half squared error", "of the fifth example; missing where it is trained on"),
    **{f"w{k}": Column("", f"weight of component {k}") for k in range(1, 7)},
    **{f"g{k}": Column("loss/weight", f"component {k} of the measured examples' mean gradient") for k in range(1, 7)},
    "beta_times_lr": Column("", "assumed smoothness of the loss times the optimiser's lr"),
    "log10_bound": Column("log10", "bound on the generalisation gap over L²/m (arXiv 2203.10036), relative, loose"),
    "relative_bound": Column("share", "that bound over the same with incoherent gradients; missing at step 0"),
    "gap": Column("nats", "test minus training loss; the test labels are clean, whatever was trained on"),
    "group_a": Column("", "the one group of a pair: pristine, corrupt or heldout"),
    "group_b": Column("", "the other group of the pair: corrupt, heldout, or train (pristine and corrupt together)"),
    "n_a": Column("examples", "how many group_a has"),
    "n_b": Column("examples", "how many group_b has"),
    "inner": Column("(loss/weight)²", "S_a · S_b, the inner product of the two groups' summed gradients"),
    "cosine": Column("share", "S_a · S_b / (|S_a| |S_b|), between the two groups' summed gradients"),
    "cross_m_coherence": Column("examples", "S_a · S_b / √(Q_a Q_b); m-coherence where a and b are the same group"),
    "cross_alignment": Column("share", "mean inner product of one example of a and one of b over rms norms"),
    "world": Column("", "whose tags pristine and corrupt: measured, or null 1, ..., shuffled among the same examples"),
    "n_pristine": Column("examples", "measured examples tagged pristine"),
    "n_corrupt": Column("examples", "measured examples tagged corrupt"),
    "f_pristine": Column("share", "S_p · S / |S|² of the measured sample, the pristine share (arXiv 2002.10657)"),
    "f_corrupt": Column("share", "S_c · S / |S|², the corrupt share; the two add up to 1"),
    "i_pristine": Column("(loss/weight)²", "sum over updates of g · g^p per pristine example, by trapezoids"),
    "i_corrupt": Column("(loss/weight)²", "the same of g · g^c per corrupt example"),
    "c": Column("percent", "percentile that winsorised SGD clips at each end; 0 for SGD that is alike but for that"),
    "alike": Column("", "number of the family of optimisers that differ in c alone; -1 for none"),
    "classes": Column("classes", "C, how many the data set has"),
    "train_accuracy": Column("share", "training examples predicted as the label trained on"),
    "test_accuracy": Column("share", "test examples predicted as their clean label"),
    "pristine_share": Column("share", "training labels that the corruption left as they were"),
    "proper_accuracy": Column("share", "1 - ε + ε/C, training accuracy of a network that predicts every true label"),
    "overfit": Column("share", "train_accuracy - [ε/C + (1 - ε) test_accuracy] (arXiv 2002.10657)"),
    "best_step": Column("updates", "step of the checkpoint with the best test accuracy, the first of equals"),
    "best_epoch": Column("passes", "epoch of that checkpoint"),
    "best_test_accuracy": Column("share", "its test accuracy; chosen on the test images themselves, so optimistic"),
    "best_m_coherence": Column("examples", "m-coherence of the training sample at that checkpoint"),
    "last_step": Column("updates", "step of the last checkpoint"),
    "last_epoch": Column("passes", "epoch of the last checkpoint"),
    "last_test_accuracy": Column("share", "test accuracy at the last checkpoint"),
    "last_m_coherence": Column("examples", "m-coherence of the training sample at the last checkpoint"),
    "layer_type": Column("", "class of the layer's module, such as Conv2d; missing for the whole network"),
    "example": Column("", "position of the example in the training part"),
    "original": Column("", "class of the example before corruption"),
    "label": Column("", "label that the run trained on"),
    "changed": Column("", "whether the two differ"),
    "learned_at": Column("updates", "step from which the example stays right; inf where it never does"),
    "forgetting_events": Column("events", "right to wrong between neighbouring checkpoints; inf where never right"),
    "mean_loss": Column("nats", "cross-entropy of the example, mean over the checkpoints"),
    "rank": Column("share", "difficulty among the run's examples, 0 easiest to 1 hardest"),
    "score": Column("share", "mean of the ranks over the reference runs that did not diverge"),
    "first_split_learned_at": Column("updates", "step of the first half's training from which the example stays right"),
    "second_split_forgotten_at": Column("updates", "step of training on the other half from which it stays wrong"),
    "other": Column("", "what the row compares with: another seed or score, or another group of examples"),
    "n_other": Column("examples", "how many the other group has"),
    "spearman": Column("correlation", "rank correlation of the ranks"),
    "spearman_learned_at": Column("correlation", "rank correlation of the learning times"),
    "easy_overlap": Column("share", "examples called easy that the other calls easy too"),
    "chance": Column("share", "that overlap as expected by chance"),
    "alignment": Column("share", "mean inner product of two examples' gradients over their root mean square norms"),
    "m": Column("examples", "size of the measured training sample"),
    "start": Column("", "fresh (initial weights of the seed) or adversarial (weights that had fitted other labels)"),
    "setting": Column("", "the swept setting of the networks: width, depth, or a key of their entries"),
    "value": Column("", "its value in the run's network, in the unit of that key"),
    "past_transient": Column("", "whether the checkpoint is past the initial transient, where peaks are looked for"),
    "diverged": Column("", "whether loss or weights had stopped being finite; what is measured is missing then"),
}  # fmt: skip


def dictionary(tables: Iterable[tuple[str, Iterable[str]]]) -> pd.DataFrame:
    """One row per table and column: table, column, unit, meaning.

    Args:
        tables: (name of a table, names of its columns).

    Raises:
        UserError: a column is not described here.
    """
    rows = []
    for table, columns in tables:
        for column in columns:
            if column not in COLUMNS:
                raise UserError(
                    f"table {table}: found the column {column!r}, expected one that data_dictionary describes"
                )
            rows.append((table, column, COLUMNS[column].unit, COLUMNS[column].meaning))
    return pd.DataFrame(rows, columns=["table", "column", "unit", "meaning"])
