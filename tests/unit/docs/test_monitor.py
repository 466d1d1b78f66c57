"""What docs/monitor.md tells a reader to type works, with the real Lightning and transformers."""

import re
import sys
import types
from pathlib import Path

from mcoherence.monitoring.monitor import CoherenceMonitor

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/monitor.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def stand_ins(calls):
    """{module: what a reader imports} of TensorBoard and wandb, which are not installed; they note who logs when."""

    class SummaryWriter:
        def add_scalar(self, tag, scalar_value, global_step=None, walltime=None, new_style=False):
            calls.add(("tensorboard", global_step))

    class Run:
        def log(self, data, step=None, commit=None):
            calls.add(("wandb", step))

    tensorboard, wandb = types.ModuleType("torch.utils.tensorboard"), types.ModuleType("wandb")
    tensorboard.SummaryWriter, wandb.init = SummaryWriter, lambda project: Run()
    return {module.__name__: module for module in (tensorboard, wandb)}


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert BLOCKS[0] == (ROOT / "examples/training_loop.py").read_text()
    namespace, measured, calls = {"__name__": "__main__"}, [], set()
    for block in BLOCKS:
        before = namespace.get("monitor")
        with monkeypatch.context() as patched:
            for name, module in stand_ins(calls).items():
                if name in block:  # not while others look what is installed
                    patched.setitem(sys.modules, name, module)
            exec(compile(block, "docs/monitor.md", "exec"), namespace)
        monitor = namespace.get("monitor")
        if monitor is not before:
            if monitor.history.empty:
                monitor(100)
            measured.append(monitor.history["step"].tolist())
    assert measured == [[0], [100], [100], [0, 2, 4], [0, 2, 4]]
    assert calls == {("tensorboard", 100), ("wandb", 100)}
    shown = capsys.readouterr().out
    assert len(re.findall(r"^ +\d+ +[\d.]+ +[\d.]+ +[\d.]+$", shown, flags=re.MULTILINE)) == 12
    assert all((tmp_path / f"{name}.png").stat().st_size > 10_000 for name in ("coherence", "layers"))


def test_every_argument_of_the_monitor_is_in_the_table():
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]*) \|", PAGE, flags=re.MULTILINE))))
    assert named == set(CoherenceMonitor.__init__.__annotations__) - {"return"}
