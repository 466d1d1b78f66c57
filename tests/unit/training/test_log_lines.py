"""What a training job writes into its log: at the start, now and then, at the end; and it changes nothing."""

import io
import re
import sys
from itertools import count, pairwise

import torch

from mcoherence.training.log_lines import LogLines
from mcoherence.training.losses import Losses
from mcoherence.training.ranks import Ranks

SECONDS_AN_UPDATE = 4.0


def three_of_four_right(lines):
    logits = torch.eye(4, requires_grad=True)
    lines.see(logits, torch.tensor([0, 1, 2, 0]))
    assert logits.requires_grad
    assert logits.grad is None


def run(first, stop, see=three_of_four_right, leads=True):
    """Updates of 10 examples and 4 seconds each, whose losses are 2, 1, 2, 1 ... and are read at once."""
    losses, ticks = Losses(first, None, Ranks()), count()
    clock = lambda: SECONDS_AN_UPDATE * next(ticks)  # noqa: E731
    lines = LogLines(first, stop, 10, "cpu", losses.known, leads, clock)
    for update in lines.updates():
        losses.append(torch.tensor(2.0 - update % 2))
        losses.read()
        see(lines)
    lines.end()


def test_a_short_training_has_a_line_at_its_start_and_one_at_its_end(capsys):
    run(100, 102)
    start, end = capsys.readouterr().err.splitlines()
    assert start.startswith("train: updates 100 to 102 of 10 examples each, on cpu")
    # The clock ticks at the start, before each update, and at the end: 12 seconds for 20 examples.
    told = "loss 1.5 (mean of 2 updates), accuracy 75.0% of the last 4 examples, 2 examples/s, 12 s in all"
    assert end == f"train: 102/102 (100%), {told}"


def test_a_long_one_says_now_and_then_how_far_it_is(capsys):
    run(0, 60)
    log = capsys.readouterr().err
    told = [int(number) for number in re.findall(r"^train: (\d+)/60 ", log, flags=re.MULTILINE)]
    # A line is due after 30 seconds, at the clock's 8th tick, before update 7; that update is looked at, and then told.
    assert told[0] == 8
    assert told[-1] == 60
    assert all(8 <= later - earlier <= 10 for earlier, later in pairwise(told[:-1]))
    assert re.search(r"^train: 8/60 \(13%\), .* examples/s, about \d min \d+ s left$", log, flags=re.MULTILINE)


def test_only_one_of_several_ranks_writes(capsys):
    run(0, 3, leads=False)
    assert capsys.readouterr().err == ""


def test_outputs_that_torch_lets_nobody_see_cost_only_the_accuracy(capsys):
    def inside_of_vmap(lines):
        def one(row):
            lines.see(row.unsqueeze(0), torch.tensor([0]))
            return row.sum()

        torch.func.vmap(one)(torch.eye(4))

    run(0, 2, see=inside_of_vmap)
    log = capsys.readouterr().err
    assert "accuracy" not in log
    assert "loss 1.5" in log


def test_a_terminal_gets_a_bar_in_place_of_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    run(0, 3)
    assert "3/3" in sys.stderr.getvalue()
    assert "examples each" not in sys.stderr.getvalue()
