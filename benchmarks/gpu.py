"""What a machine with a GPU is to be asked once: are the results right, how fast is it, does a run resume to the bit?

    python benchmarks/gpu.py --json FILE                                   on a machine with a GPU, 9 minutes at most
    python benchmarks/gpu.py --json FILE --sections table plan leases      these alone, in as many minutes
    python benchmarks/gpu.py --json FILE --device cpu --small              a rehearsal, whose figures mean nothing
    python benchmarks/gpu.py --print FILE                                  the table of an earlier run, a killed one too

Needs torch, torchvision, h5py and safetensors, and nothing else that a study needs; a peer that is not installed is a
row that says so. Runs from a checkout as it is. The JSON is written anew after every row; standard output has the
table, in markdown, and nothing else. Exit status: 1 if a result is wrong or something of ours broke, 2 if something is
missing.

    table         many networks at a batch of 256: time and memory against plain passes, waits (gpu_table.py)
    plan          what a study plans for a batch, and what it takes (gpu_table.py)
    leases        two jobs that lease one GPU, one after the other and at a time (gpu_table.py)
    correctness   networks of all kinds against the loop over single examples (gpu_correctness.py)
    examples      single examples against that loop, and their cost (gpu_examples.py)
    resume        a run that is stopped, saved, and goes on in a fresh process, against one that is not stopped
    monitor       whether a monitor changes what is trained, and its cost (gpu_examples.py)
    training      images per second of every optimiser against SGD (gpu_timing.py)
    extraction    gradient statistics against plain training passes, vmap, BackPACK, Opacus (gpu_timing.py)
"""

import argparse
import hashlib
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STARTED = time.monotonic()
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

Row = dict[str, Any]
Left = Callable[[], float]
# Shares of the time, in the order of the sections; what one leaves is the next ones'.
SHARES = {
    "correctness": 0.16,
    "table": 0.32,
    "leases": 0.07,
    "plan": 0.05,
    "examples": 0.09,
    "resume": 0.09,
    "monitor": 0.04,
    "training": 0.07,
    "extraction": 0.11,
}
FLOAT32_ROUNDING = 3e-5  # of a sum of some hundred products; TF32's is ten times as much
# All that is used of the library: what is not named here may move.
PUBLIC = {
    "mcoherence": (
        "CoherenceMonitor",
        "GradientStatistics",
        "example_statistics",
        "gradient_statistics",
        "load_checkpoint",
    ),
    "mcoherence.gradients.reference": ("per_example_gradients",),
    "mcoherence.models": ("build_model",),
    "mcoherence.models.memory": ("example_bytes",),
    "mcoherence.optim": ("M3", "RM3", "RA3", "WinsorizedSGD", "SGD", "SuccessiveM3"),
}


def missing() -> list[str]:
    """What cannot be imported of torch, torchvision and the library's public names, in words; [] if all is there."""
    found = {}
    for module, names in {"torch": (), "torchvision": (), **PUBLIC}.items():
        for name in names or (None,):
            try:
                imported = importlib.import_module(module)
                if name is not None:
                    getattr(imported, name)
            except Exception as error:  # a torchvision that was built for another torch raises RuntimeError
                found.setdefault(str(error), f"{module}{f'.{name}' if name else ''}: {error}")
    return list(found.values())


class Report:
    """Rows of a run in a JSON file, written anew after each one."""

    def __init__(self, path: Path, machine: Row) -> None:
        self.path, self.content = path, {"machine": machine, "rows": []}
        self._write()

    def add(self, row: Row) -> None:
        """Keep the row, and tell of it on standard error."""
        self.content["rows"].append(row)
        self._write()
        print(f"{time.monotonic() - STARTED:5.0f} s  " + " | ".join(cells(row)), file=sys.stderr, flush=True)

    def _write(self) -> None:
        temporary = self.path.with_name(self.path.name + ".part")
        temporary.write_text(json.dumps(self.content, indent=1) + "\n")
        temporary.replace(self.path)


def verdict(row: Row) -> str:
    """The verdict as the table gives it; nothing where there is nothing to pass."""
    return {True: "passed", False: "**FAILED**", None: ""}[row["passed"]]


def cells(row: Row) -> list[str]:
    """The cells of the row's line in the table."""
    result = "; ".join(text for text in (row["result"], row["note"]) if text)
    return [row["section"], row["case"], row["setting"], row["device"], result.replace("|", "\\|"), verdict(row)]


def table(content: Row) -> str:
    """The machine and all rows in markdown."""
    machine, rows = content["machine"], content["rows"]
    heading = ", ".join(
        f"{name} {value}" for name, value in machine.items() if value is not None and name != "rehearsal"
    )
    if machine["rehearsal"]:
        heading = f"**A rehearsal: no figure here says anything of a GPU.** {heading}"
    lines = [["section", "network", "setting", "device", "result", "verdict"], ["---"] * 6, *map(cells, rows)]
    return "\n".join([heading, "", *(f"| {' | '.join(line)} |" for line in lines)])


def machine(device: Any, small: bool) -> Row:
    """What the figures were measured with, and when."""
    import numpy as np
    import torch
    import torchvision

    on_gpu = device.type == "cuda"
    properties = torch.cuda.get_device_properties(device) if on_gpu else None
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rehearsal": small or not on_gpu,
        "GPU": properties.name if properties else None,
        "GPU_GiB": round(properties.total_memory / 2**30, 1) if properties else None,
        "driver": first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if on_gpu else None,
        "CUDA": torch.version.cuda if on_gpu else None,
        "cuDNN": torch.backends.cudnn.version() if on_gpu else None,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "commit": first_line("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "changed_files": len(
            lines_of("git", "-C", str(ROOT), "status", "--porcelain", "--", "mcoherence", "benchmarks")
        ),
        "source_sha256": source_digest(),
    }


def lines_of(*command: str) -> list[str]:
    """What the command prints; nothing where it cannot be run."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.splitlines()


def first_line(*command: str) -> str | None:
    """The first line that the command prints; None where it cannot be run."""
    return next(iter(lines_of(*command)), None)


def source_digest() -> str:
    """SHA-256 of the library's source files and their names: tells which code ran where there is no commit to name."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "mcoherence").rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


# --- resume -----------------------------------------------------------------------------------------------------------

BATCHES, SAVED_AFTER, EXAMPLES = 10, 5, 12  # SuccessiveM3 is in the middle of an update there, RM3's memory is full
# name: (optimiser of gpu_timing.py, whether in bf16 autocast and channels_last)
RUNS = {
    "SGD, momentum": ("SGD, momentum", False),
    "RM3": ("RM3", False),
    "M3": ("M3", False),
    "SuccessiveM3": ("SuccessiveM3", False),
    "RM3, bf16, channels_last": ("RM3", True),
}


class Run:
    """A network and an optimiser, trained on batches of random numbers that only their position decides."""

    def __init__(self, name: str, device: Any, small: bool) -> None:
        import torch
        from gpu_timing import GROUPS, OPTIMIZERS, small_cnn
        from torch import nn
        from torchvision.models import resnet18

        torch.manual_seed(0)
        optimizer, self.narrow = RUNS[name]
        model = small_cnn() if small else resnet18(num_classes=10)
        if not small:  # a 3x3 stem and no max pool, as for images of this size
            model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
        layout = torch.channels_last if self.narrow else torch.contiguous_format
        self.device, self.model = device, model.to(device, memory_format=layout).train()
        self.optimizer = OPTIMIZERS[optimizer](self.model)
        self.parts = GROUPS if optimizer == "M3" else 1

    def train(self, start: int, end: int) -> None:
        """Take in the batches from `start` up to `end`."""
        import torch
        from gpu_timing import one_update

        def mean_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.narrow):
                return torch.nn.functional.cross_entropy(self.model(x), y)

        for number in range(start, end):
            generator = torch.Generator().manual_seed(number)
            inputs = torch.randn(EXAMPLES, 3, 32, 32, generator=generator).to(self.device)
            targets = torch.randint(0, 10, (EXAMPLES,), generator=generator).to(self.device)
            parts = zip(inputs.chunk(self.parts), targets.chunk(self.parts), strict=True)
            one_update(self.optimizer, list(parts), mean_loss)

    def state(self) -> Row:
        """All there is to save."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: Row) -> None:
        """Go on from there."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def digest(self) -> str:
        """SHA-256 of the bits of all weights, buffers and the optimiser's tensors."""
        import torch
        from gpu_timing import tensors_in

        digest = hashlib.sha256()
        for tensor in tensors_in([self.model.state_dict(), self.optimizer.state_dict()["state"]]):
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def train_one_part(part: str, folder: Path, device: Any, small: bool) -> None:
    """Train every run whole, twice, and save its state on the way; or resume it from there. Digests go to PART.json."""
    import torch

    torch.use_deterministic_algorithms(True)
    digests: dict[str, dict[str, str]] = {}
    for number, name in enumerate(RUNS):
        saved = folder / f"{number}.pt"
        try:
            digests[name] = {"whole": whole, "resumed": resumed}[part](name, saved, device, small)
        except Exception as error:
            digests[name] = {"error": f"{part}: {type(error).__name__}: {str(error)[:200]}"}
        (folder / f"{part}.json").write_text(json.dumps(digests))


def whole(name: str, saved: Path, device: Any, small: bool) -> dict[str, str]:
    """Digests of a run where it was saved and at its end, and of the same run once more."""
    import torch

    first, second = Run(name, device, small), Run(name, device, small)
    first.train(0, SAVED_AFTER)
    torch.save(first.state(), saved)
    at_save = first.digest()
    first.train(SAVED_AFTER, BATCHES)
    second.train(0, BATCHES)
    return {"saved": at_save, "whole": first.digest(), "again": second.digest()}


def resumed(name: str, saved: Path, device: Any, small: bool) -> dict[str, str]:
    """Digests of what was loaded and of the end of the run that goes on from there."""
    import torch

    run = Run(name, device, small)
    run.load(torch.load(saved, map_location=device, weights_only=True))
    loaded = run.digest()
    run.train(SAVED_AFTER, BATCHES)
    return {"loaded": loaded, "resumed": run.digest()}


def resume(device: Any, left: Left, small: bool) -> Iterator[Row]:
    """A row for each run: whole twice and resumed in a fresh process, under deterministic algorithms."""
    digests: dict[str, dict[str, str]] = {name: {} for name in RUNS}
    note, cut = "", False
    with tempfile.TemporaryDirectory() as folder:
        for part in ("whole", "resumed"):
            try:
                command = [sys.executable, __file__, "--device", device.type, "--resume-part", part, folder]
                subprocess.run(
                    command + ["--small"] * small,
                    check=True, timeout=max(1.0, left()), stdout=subprocess.DEVNULL,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                note, cut = "cut: no time left to this section", True
            except subprocess.CalledProcessError as error:
                note = f"the process that trained the {part} runs ended with status {error.returncode}"
            told = Path(folder) / f"{part}.json"
            for name, found in (json.loads(told.read_text()) if told.exists() else {}).items():
                digests[name] = found | digests[name]  # the first error tells most
    case = "small CNN" if small else "ResNet-18, 3x3 stem"
    for name, found in digests.items():
        yield {"case": case, "setting": name, "digests": found, **compared(found, note, cut)}


def compared(digests: dict[str, str], note: str, cut: bool) -> Row:
    """Verdict, result and note, given the digests of one run, and why there may be too few."""
    if "error" in digests:
        return {"passed": False, "result": "", "note": digests["error"]}
    if digests.keys() != {"saved", "whole", "again", "loaded", "resumed"}:
        return {"passed": None if cut else False, "result": "", "note": note}
    wrong = {
        "the same run twice gives other bits": digests["again"] != digests["whole"],
        "what was loaded is not what was saved": digests["loaded"] != digests["saved"],
        "the resumed run ends with other bits": digests["resumed"] != digests["whole"],
        "nothing was trained after it was saved": digests["saved"] == digests["whole"],
    }
    found = [text for text, is_so in wrong.items() if is_so]
    result = f"{BATCHES} batches, saved after {SAVED_AFTER}: "
    return {
        "passed": not found,
        "result": result + (", ".join(found) or "equal to the bit, twice and resumed"),
        "note": "",
    }


# --- the whole --------------------------------------------------------------------------------------------------------


def rows_of(section: str, device: Any, left: Left, small: bool) -> Iterator[Row]:
    """The rows of one section; one that says so where the section itself breaks."""
    from gpu_correctness import correctness
    from gpu_examples import examples, monitoring
    from gpu_table import leases, plan, table
    from gpu_timing import extraction, training

    sections: dict[str, Callable[[Any, Left, bool], Iterator[Row]]] = {
        "correctness": lambda device, left, small: correctness(device, left),
        "examples": examples,
        "extraction": extraction,
        "monitor": monitoring,
        "training": training,
        "resume": resume,
        "table": table,
        "plan": plan,
        "leases": leases,
    }
    try:
        yield from sections[section](device, left, small)
    except Exception as error:
        message = f"{type(error).__name__}: {str(error)[:300]}"
        yield {"case": "", "setting": "", "passed": False, "result": "", "note": f"the section broke off: {message}"}


def without_tf32(device: Any) -> Row:
    """Whether float32 is float32 here, as the rows that say float32 have it: TF32 is off by 3e-4."""
    from gpu_timing import float32_errors

    errors = float32_errors(device)
    return {
        "case": "a product, a convolution",
        "setting": "float32, TF32 off",
        "errors": errors,
        "passed": max(errors.values()) < FLOAT32_ROUNDING,
        "result": "relative error " + ", ".join(f"{error:.1e} ({name})" for name, error in errors.items()),
        "note": "",
    }


def measure(path: Path, device: Any, small: bool, minutes: float, sections: list[str]) -> Row:
    """Run the sections within so many minutes of the start of this process; returns what the JSON holds."""
    from gpu_timing import allow_tf32

    allow_tf32(False)
    report = Report(path, machine(device, small))
    shares = {section: share for section, share in SHARES.items() if section in sections}
    given, seconds = 0.0, 60.0 * minutes - (time.monotonic() - STARTED)
    start = time.monotonic()
    report.add({"section": "correctness", "device": device.type, **without_tf32(device)})
    for section, share in shares.items():
        given += share / sum(shares.values())
        end = start + given * seconds
        for row in rows_of(section, device, lambda end=end: end - time.monotonic(), small):
            report.add({"section": section, "device": device.type, **row})
    return report.content


def main() -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    parser.add_argument(
        "--print", type=Path, metavar="FILE", help="print the table of this file of rows, measure nothing"
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="small networks and batches to time: a rehearsal")
    parser.add_argument("--minutes", type=float, default=9.0, help="wall-clock budget; the default is %(default)g")
    parser.add_argument("--sections", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--resume-part", nargs=2, metavar=("PART", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--lease-part", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.print:
        print(table(json.loads(arguments.print.read_text())))
        return 0
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
    if absent := missing():
        print(f"gpu.py: cannot import {'; '.join(absent)}; install what is named, with pip", file=sys.stderr)
        return 2
    import torch

    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu.py: found no CUDA device; --device cpu --small rehearses without one", file=sys.stderr)
        return 2
    if device.type == "cpu":
        torch.set_num_threads(1)  # a rehearsal, on a machine that is doing other things
    if arguments.resume_part:
        train_one_part(arguments.resume_part[0], Path(arguments.resume_part[1]), device, arguments.small)
        return 0
    if arguments.lease_part:
        from gpu_table import leased_job

        leased_job(arguments.lease_part, time.time() - (time.monotonic() - STARTED), device, arguments.small)
        return 0
    if arguments.json is None:
        parser.error("expected --json FILE")
    if not arguments.json.resolve().parent.is_dir():
        parser.error(f"--json: found no folder {arguments.json.parent}; make it first")
    content = measure(arguments.json, device, arguments.small, arguments.minutes, arguments.sections)
    print(table(content))
    return int(any(row["passed"] is False for row in content["rows"]))


if __name__ == "__main__":
    sys.exit(main())
