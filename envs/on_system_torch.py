"""What `make TORCH=system` installs beside a torch that is there: the lock without torch and what is CUDA's, printed.

    python envs/on_system_torch.py envs/requirements.lock > without_torch.lock

Looks at the torch and torchvision that its own Python imports, and refuses those that the study is not tested with.
"""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# The oldest versions that are tested; the newest are those of the lock.
OLDEST = {"torch": (2, 11), "torchvision": (0, 26)}
OF_TORCH = re.compile(r"torch|torchvision|triton|nvidia-.*|cuda-.*")


def pins(lock: str) -> Iterator[tuple[str, str]]:
    """Name, and the text with its hashes, of every pin of a lock; what stands before the first one has the name ""."""
    for text in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE):
        yield re.match(r"(?:([a-z0-9._-]+)==)?", text)[1] or "", text


def minor_version(version: str) -> tuple[int, int] | None:
    """(2, 11) of "2.11.0+cu130" or "2.11.0a0"; None where it is no such version."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found and (int(found[1]), int(found[2]))


def problem_with(name: str, lock: str) -> str | None:
    """Why the package of this name that is there will not do, with the versions that will; None where it is tested."""
    [newest] = set(re.findall(rf"^{name}==([^ ]+)", lock, flags=re.MULTILINE))
    tested = f"{'.'.join(map(str, OLDEST[name]))} to {newest}"
    try:
        found = str(importlib.import_module(name).__version__)
    except Exception as error:  # there is none, or one of another build
        reason = (str(error).splitlines() or [type(error).__name__])[-1]
        return f"{name} does not import in {sys.base_prefix} ({reason}); expected {tested}"
    version = minor_version(found)
    if version is None or not OLDEST[name] <= version <= minor_version(newest):
        return f"found {name} {found}, which is not tested; expected {tested}"
    return None


def main() -> None:
    """Print the lock without what is torch's, or leave with one line."""
    lock = Path(sys.argv[1]).read_text(encoding="utf-8")
    problem = next(filter(None, (problem_with(name, lock) for name in OLDEST)), None)
    if problem:
        way_out = "name another Python with PYTHON=, or take the torch of the lock with TORCH=lock"
        sys.exit(f"make TORCH=system: {problem}; {way_out}")
    print("".join(text for name, text in pins(lock) if not OF_TORCH.fullmatch(name)), end="")


if __name__ == "__main__":
    main()
