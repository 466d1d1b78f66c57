"""Links to files beside docs/ lead to the page that shows them, and no page asks another server for anything."""

import re
from pathlib import Path
from typing import Any

# File of the repository, as pages and what they include link it -> the page of the site that includes it.
PAGES = {
    "../benchmarks/RESULTS.md": "benchmarks.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    "../CHANGELOG.md": "changelog.md",
    "CHANGELOG.md": "changelog.md",
}
# What a browser loads by itself when it opens a page: all but <a href>.
LOADED = re.compile(r"<(?!a\b)[a-z]+\b[^>]*\b(?:src|href|data|poster)=\"((?:https?:)?//[^\"]+)\"")
IN_STYLES = re.compile(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')]+)")


def setup(app: Any) -> dict[str, bool]:
    """Register both."""
    app.connect("source-read", with_own_links)
    app.connect("include-read", lambda app, _path, page, source: with_own_links(app, page, source))
    app.connect("build-finished", require_nothing_from_elsewhere)
    return {"parallel_read_safe": True}


def with_own_links(_app: Any, _page: str, source: list[str]) -> None:
    """Lead links out of docs/ to pages of the site, in place."""
    for path, page in PAGES.items():
        source[0] = source[0].replace(f"]({path}", f"]({page}")


def addresses(text: str) -> list[str]:
    """The addresses of other servers that a page or a style sheet loads from.

    Example:
        >>> addresses('<a href="https://arxiv.org"></a><script src="https://cdn.example/x.js"></script>')
        ['https://cdn.example/x.js']
        >>> addresses('@import "//fonts.example/a.css"; url(local.png)')
        ['//fonts.example/a.css']
    """
    return LOADED.findall(text) + IN_STYLES.findall(text)


def require_nothing_from_elsewhere(app: Any, error: Exception | None) -> None:
    """End the build where a page, opened, would ask another server for something."""
    from sphinx.errors import ExtensionError  # told in one line

    if error is not None:
        return
    for path in sorted(Path(app.outdir).rglob("*")):
        if path.suffix in (".html", ".css") and (found := addresses(path.read_text(encoding="utf-8"))):
            raise ExtensionError(f"{path.name}: loads {found[0]}, expected a file of the site")
