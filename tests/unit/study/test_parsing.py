"""Parsing the rules is quick: what the Snakefile and the rules import of the library loads nothing heavy."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEAVY = {"h5py", "matplotlib", "numpy", "pandas", "PIL", "pyarrow", "safetensors", "scipy", "sklearn", "torch"}


def test_the_rules_import_nothing_heavy_of_the_library():
    # Snakemake itself loads NumPy and pandas, so the imports are made without it.
    files = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
    lines = re.findall(r"^from mcoherence.* import .*$", "\n".join(file.read_text() for file in files), re.MULTILINE)
    assert "from mcoherence.study import checks" in lines
    code = "\n".join([*lines, "import sys", "print(*sorted({name.partition('.')[0] for name in sys.modules}))"])
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(answer.stdout.split())
