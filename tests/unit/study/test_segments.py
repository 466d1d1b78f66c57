"""When a run is saved, and the segments that its training is done in, by hand."""

from pathlib import Path

import pytest
import yaml

from mcoherence.study.segments import checkpoint_schedule, checkpoint_steps, segment_checkpoints, segments

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "digits_study.yaml").read_text())
TRAINING = {"batch_size": 60, "checkpoints": {"every_step_until": 2, "per_doubling": 1}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((100, 2, 1), [0, 1, 2, 4, 8, 16, 32, 64]),
        ((30, 4, 2), [0, 1, 2, 3, 4, 6, 8, 11, 16, 23]),  # 4 times 1.41, 2, 2.83, 4, 5.66
        ((100, 0, 1), [0, 2, 4, 8, 16, 32, 64]),  # an anchor of 1
        ((3, 8, 2), [0, 1, 2, 3]),
        ((80, 2, 1, 12), [0, 1, 2, 4, 8, 16, 24, 36, 48, 60, 72]),  # from 16 the next would be 32, more than 12 off
        ((10, 2, 1, 1), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ],
)
def test_checkpoints_are_dense_then_log_spaced_then_periodic(arguments, expected):
    assert checkpoint_schedule(*arguments) == expected


@pytest.mark.parametrize("arguments", [(6, 2), (0, 1), (3, 5), (2, 1, 12), (8, 2, 100)])
def test_longer_training_moves_no_checkpoint(arguments):
    longest = checkpoint_schedule(1000, *arguments)
    for updates in range(1, 1000):
        assert checkpoint_schedule(updates, *arguments) == [step for step in longest if step <= updates]


def test_the_default_study_saves_every_run_22_times():
    assert checkpoint_steps(CONFIG["training"]) == [
        0, 1, 2, 3, 4, 5, 6, 8, 12, 17, 24, 34, 48, 68, 96, 136, 192, 272, 384, 543, 768, 840,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("updates", "length", "expected"),
    [
        (100, None, [(0, 100)]),
        (100, 100, [(0, 100)]),
        (100, 40, [(0, 40), (40, 80), (80, 100)]),
        (120, 40, [(0, 40), (40, 80), (80, 120)]),
    ],
)
def test_segments_are_whole_but_for_the_last(updates, length, expected):
    lengths = {} if length is None else {"segment_updates": length}
    assert segments(TRAINING | {"updates": updates} | lengths) == expected


def test_each_checkpoint_belongs_to_one_segment_and_each_segment_saves_its_end():
    training = TRAINING | {"updates": 100, "segment_updates": 40}
    saved = [segment_checkpoints(training, *segment) for segment in segments(training)]
    assert saved == [[0, 1, 2, 4, 8, 16, 32, 40], [64, 80], [100]]
    assert checkpoint_steps(training) == [step for steps in saved for step in steps]
