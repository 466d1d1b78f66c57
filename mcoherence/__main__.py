"""`python -m mcoherence` is the command `mcoherence`."""

import sys

from mcoherence.command.main import main

if __name__ == "__main__":
    sys.exit(main())
