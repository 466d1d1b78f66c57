"""Captions of figures as HTML: their first sentences and the rest, with no link that could run anything."""

import html
import re

from docutils.core import publish_parts
from jinja2 import Environment

from mcoherence.study.runs import Config

SENTENCES = 2  # of a caption that are shown at once


def caption_as_html(caption: str, config: Config) -> str:
    """A figure's caption, reStructuredText in which `snakemake.config` is the config, as HTML."""
    text = Environment(autoescape=False).from_string(caption).render(snakemake={"config": config})
    settings = {"raw_enabled": False, "file_insertion_enabled": False, "report_level": 5, "input_encoding": "unicode"}
    fragment = str(publish_parts(text, writer="html5", settings_overrides=settings)["fragment"])
    return re.sub(r' href="([^"]*)"', _allowed, fragment)


def _allowed(link: re.Match[str]) -> str:
    """The link where it leads to a web page or beside the page, nothing where it would run or hold something."""
    return link[0] if re.match(r"https?://|[^:]*$|[#./]", html.unescape(link[1])) else ""


def split_caption(fragment: str) -> tuple[str, str]:
    """A caption's first sentences, its title in bold not counted, and the rest; "" where there is no more.

    Both are whole HTML.

    >>> split_caption("<p>One. Two. Three.</p>")
    ('<p>One. Two.</p>', '<p>Three.</p>')
    """
    start, first, after = fragment.partition("</p>")
    ends = [
        end
        for end in (one.end() for one in re.finditer(r"[.!?](?!</strong>)(</\w+>)*\s+(?=[A-Z<])", start))
        if start[:end].count("</") == len(re.findall(r"<\w", start[:end])) - 1
    ]  # in no element but the paragraph
    if len(ends) < SENTENCES or not start.startswith("<p>"):
        return start + first, after.strip()
    end = ends[SENTENCES - 1]
    return f"{start[:end].rstrip()}</p>", f"<p>{start[end:]}</p>{after.rstrip()}"
