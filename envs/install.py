"""Install what a lock pins by several runs of pip at once; one of them takes a package after the other, on one core.

    python envs/install.py .venv/bin/pip envs/requirements.lock [--ignore-installed]

Options after the lock are pip's. The lock names everything that is needed, so that no package waits for another.
"""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from on_system_torch import pins

OPTIONS = ("install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes")
MOST_PROCESSES = 4
# Shares of a lock for each process, so that none works on alone at the end; a start of pip takes a second.
SHARES = 3


def shares(lock: str, count: int) -> list[str]:
    """At most so many texts of a lock's pins, which every pin is in one of; neighbours, such as CUDA's, are apart."""
    pinned = [text for name, text in pins(lock) if name]
    return ["".join(pinned[start::count]) for start in range(min(count, len(pinned)))]


def install(pip: str, lock: str, options: list[str], processes: int) -> bool:
    """Whether pip has installed every share of a lock, so many of them at once; what it says goes where ours does."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(processes) as pool:

        def install_share(number: int, share: str) -> bool:
            path = Path(folder) / f"{number}.lock"
            path.write_text(share, encoding="utf-8")
            return subprocess.run([pip, *OPTIONS, *options, "-r", str(path)], check=False).returncode == 0

        of_shares = shares(lock, SHARES * processes)
        return all(list(pool.map(install_share, range(len(of_shares)), of_shares)))


def main() -> None:
    """Install the lock that is named; 1 if pip has failed with some of it, which says why."""
    pip, lock, *options = sys.argv[1:]
    processes = min(MOST_PROCESSES, os.cpu_count() or 1)
    sys.exit(not install(pip, Path(lock).read_text(encoding="utf-8"), options, processes))


if __name__ == "__main__":
    main()
