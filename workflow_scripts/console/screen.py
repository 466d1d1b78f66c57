"""Lines that stay, and on a terminal one below them that changes."""

import os
import shutil
import sys
from typing import TextIO

ERASE = "\r\x1b[K"  # the line that the cursor is in


class Screen:
    """Writes lines to a stream; on a terminal the last one may be overwritten."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        dumb = os.environ.get("TERM", "dumb") == "dumb" or sys.platform == "win32"
        self.is_terminal = stream.isatty() and not dumb
        self._status = ""

    def line(self, text: str) -> None:
        """Write lines that stay, above the one that changes."""
        below = self._status
        self.status("")
        self._stream.write(f"{text}\n")
        self._stream.flush()
        self.status(below)

    def status(self, text: str) -> None:
        """Overwrite the line that changes, cut to the width of the terminal; "" takes it away. Only on a terminal.

        The cursor stays at its beginning, so that what others write covers it.
        """
        if not self.is_terminal or (not text and not self._status):
            return
        self._status = text
        self._stream.write(f"{ERASE}{text[: max(self._width() - 1, 0)]}\r" if text else ERASE)
        self._stream.flush()

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or shutil.get_terminal_size().columns
        except (OSError, ValueError):
            return shutil.get_terminal_size().columns
