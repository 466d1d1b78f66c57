"""What the columns of the tidy tables mean, as a page for a reader. Only `make schema` calls this."""

import importlib
import pkgutil
from collections.abc import Mapping

import mcoherence.tables
from mcoherence.tables import dictionary
from mcoherence.tables.columns import RUN_COLUMNS, Column

MARKS = ("<!-- columns: `make schema` writes all that follows -->", "<!-- end of columns -->")
# Table -> what it has a row for; its columns in order, RUN for those that name a run, OWN for its module's others.
# Tests of the tables hold them to this.
TABLES = {
    "accuracy": (
        "run, checkpoint and part of the examples: accuracy and loss",
        "RUN, step, epoch, part, n, accuracy, loss, diverged",
    ),
    "adversarial_start": (
        "run from either start, checkpoint and part of the examples",
        "RUN, start, step, epoch, part, n, accuracy, diverged",
    ),
    "bound": (
        "run of plain SGD, checkpoint and assumed smoothness: the bound on the generalisation gap",
        "RUN, step, epoch, beta_times_lr, log10_bound, relative_bound, gap, batch_norm, diverged",
    ),
    "coherence": (
        "run, checkpoint, group of examples and layer",
        "RUN, step, epoch, group, layer, layer_type, n, sum_sq_norm, sq_norm_of_sum, m_coherence, alpha, "
        "pairwise_alignment, batch_norm, diverged",
    ),
    "confusion": (
        "run and checkpoint: cosines of its mini-batches' gradients, and what tells its network from others",
        "RUN, architecture, width, depth, normalised, skip, step, epoch, pairs, confusion, min_cosine, cosine_05, "
        "median_cosine, cosine_95, negative, train_accuracy, batch_norm, diverged",
    ),
    "contributions": (
        "run, checkpoint and world: shares of pristine and corrupt examples in the gradient",
        "RUN, step, epoch, world, n_pristine, n_corrupt, sq_norm_of_sum, f_pristine, f_corrupt, i_pristine, "
        "i_corrupt, batch_norm, diverged",
    ),
    "difficulty": (
        "reference run and training example: how hard it is",
        "RUN, example, original, label, changed, learned_at, forgetting_events, mean_loss, rank, score, "
        "first_split_learned_at, second_split_forgotten_at, diverged",
    ),
    "difficulty_agreement": (
        "reference run and what it is compared with: how far they agree on what is hard",
        "RUN, other, n, spearman, spearman_learned_at, easy_overlap, chance, step",
    ),
    "difficulty_coherence": (
        "run, checkpoint and pair of groups of easy, hard and random examples",
        "RUN, step, epoch, group, other, n, n_other, m_coherence, alpha, pairwise_alignment, alignment, cosine, "
        "batch_norm, diverged",
    ),
    "early_stopping": (
        "run: its best checkpoint and its last one",
        "RUN, best_step, best_epoch, best_test_accuracy, best_m_coherence, best_alpha, best_pairwise_alignment, "
        "last_step, last_epoch, last_test_accuracy, last_m_coherence, last_alpha, last_pairwise_alignment, batch_norm, "
        "diverged",
    ),
    "easy_hard": (
        "run on a part of the training examples, and part that it is tested on",
        "dataset, model, labels, noise, optimizer, train_subset, seed, test_subset, n, accuracy, loss, diverged",
    ),
    "equal_fit": (
        "run that is random in part, and level that its accuracy on pristine examples first reaches",
        "RUN, pristine_accuracy, reached, step, epoch, corrupt_accuracy, test_accuracy, diverged",
    ),
    "examples": (
        "run that looks for wrong labels, and training example: its scores, higher = more trusted",
        "RUN, index, label, original, changed, OWN, batch_norm, diverged",
    ),
    "group_alignment": (
        "run, checkpoint and pair of groups: how their gradients lie to each other",
        "RUN, step, epoch, group_a, group_b, layer, n_a, n_b, inner, cosine, cross_m_coherence, cross_alignment, "
        "batch_norm, diverged",
    ),
    "label_errors": (
        "run and score: how well the score finds the labels that were changed",
        "RUN, scheme, ranked_by, over, n, wrong, auroc, false_negatives, batch_norm, diverged",
    ),
    "learning_time": (
        "run and group of examples: when they are learned for good",
        "RUN, group, n, learned, median_step, diverged",
    ),
    "median_scale": (
        "run: when it fits pristine and corrupt examples, and whether it has the rate chosen on other seeds",
        "RUN, OWN, diverged",
    ),
    "overfit": (
        "run and checkpoint: how far the training accuracy goes beyond what the test accuracy accounts for",
        "RUN, c, alike, step, epoch, classes, train_accuracy, test_accuracy, pristine_share, proper_accuracy, "
        "overfit, diverged",
    ),
    "sample_size": (
        "run, size of the measured sample and checkpoint",
        "RUN, step, epoch, m, own_sample, m_coherence, alpha, pairwise_alignment, batch_norm, diverged",
    ),
    "sweep": (
        "swept setting, run and checkpoint",
        "setting, value, RUN, step, epoch, past_transient, m_coherence, alpha, pairwise_alignment, "
        "smoothed_m_coherence, train_accuracy, test_accuracy, batch_norm, diverged",
    ),
    "toy": (
        "regression in six dimensions, checkpoint and measured sample",
        "data, trained_on, measured, step, train_loss, test_loss, w1, w2, w3, w4, w5, w6, g1, g2, g3, g4, g5, g6, "
        "m_coherence, alpha, pairwise_alignment",
    ),
}


def page_of_columns(text: str) -> str:
    """The page with the part between its two marks as the tables are now."""
    before, begin, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    return f"{before}{begin}\n\n{columns_in_markdown()}\n{end}{after}"


def columns_in_markdown() -> str:
    """The columns that several tables have; then of each table its rows, its columns, and those of its own."""
    sections = ["## Columns of several tables\n\n" + _table_of(dictionary.COLUMNS)]
    for name in tables():
        module = importlib.import_module(f"mcoherence.tables.{name}")
        own = getattr(module, "COLUMNS", {})
        said = (module.__doc__ or "").splitlines()[0]
        row = f"A row for each {_escaped(TABLES[name][0])}."
        columns = f"Columns, in order: {', '.join(f'`{column}`' for column in header(name))}."
        further = f"\nThose that it alone has:\n\n{_table_of(own)}" if own else ""
        sections.append(f"## `{name}`\n\n{said} {row}\n\n{columns}\n{further}")
    return "\n".join(sections)


def header(name: str) -> list[str]:
    """The columns of a table, in order."""
    own = getattr(importlib.import_module(f"mcoherence.tables.{name}"), "COLUMNS", {})
    words = TABLES[name][1].split(", ")
    several = {"RUN": RUN_COLUMNS, "OWN": tuple(column for column in own if column not in words)}
    return [column for word in words for column in several.get(word, (word,))]


def tables() -> list[str]:
    """The names of all tables that a study can make."""
    names = [name for _, name, _ in pkgutil.iter_modules(mcoherence.tables.__path__)]
    return [name for name in names if hasattr(importlib.import_module(f"mcoherence.tables.{name}"), "table")]


def _table_of(columns: Mapping[str, Column]) -> str:
    rows = [f"| `{name}` | {_escaped(column.unit)} | {_escaped(column.meaning)} |" for name, column in columns.items()]
    return "\n".join(["| column | unit | meaning |", "| --- | --- | --- |", *rows, ""])


def _escaped(words: str) -> str:
    """Words in a cell of a table, where | and * are markup."""
    return words.replace("|", "\\|").replace("*", "\\*")
