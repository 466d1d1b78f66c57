"""HTML pages that need nothing else: the frame and the style that all pages of a study share.

Templates are text in the modules that fill them, no files of their own: the digest of the code holds them.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from mcoherence.errors import UserError
from mcoherence.files.atomic import atomic_path
from mcoherence.files.canonical import canonical_json
from mcoherence.files.digests import sha256_of
from mcoherence.files.faults import FileFaultError, require_readable
from mcoherence.files.seals import IN_METADATA, OPEN, SealError, require_seal, sealed

FRAME = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{% block title required %}{% endblock %}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; max-width: 80rem; color: #222 }
table { border-collapse: collapse; margin: 0 0 1.5rem }
th, td { border-bottom: 1px solid #ccc; padding: .35rem .6rem; text-align: left; vertical-align: top }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
pre { background: #f5f5f5; padding: 1rem; overflow: auto }
summary { cursor: pointer }
.supported { color: #00604a; font-weight: 600 }
.not-supported { color: #9c3d00; font-weight: 600 }
.inconclusive { color: #555; font-weight: 600 }
.reported { color: #555 }
.not-tested { color: #777 }
</style>
{% block head %}
{% endblock %}
</head>
<body>
{% block body required %}{% endblock %}
</body>
</html>
"""


def html_page(template: str, **content: Any) -> str:
    """A whole page; text that is not the template's own is escaped, and a name that is not given is an error.

    Args:
        template: Jinja text that extends "frame" and fills its blocks title and body.
        content: what the template names.
    """
    pages = Environment(
        loader=DictLoader({"frame": FRAME, "page": template}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return pages.get_template("page").render(content)


def write_page(path: Path, page: str, beside: Iterable[Path]) -> None:
    """Write a page atomically, with a last comment that seals it and names the digests of files that lie beside it."""
    digests = canonical_json({one.name: sha256_of(one) for one in beside})
    content = f"{page}<!-- beside: {digests}\n{IN_METADATA.decode()}{OPEN} -->\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(sealed(content.encode(), IN_METADATA))


def check_page(path: Path, beside: Iterable[Path], remedy: str) -> None:
    """Check that a page, and files beside it, are as they were when it was written.

    Args:
        path: of the page.
        beside: files that were named to `write_page`.
        remedy: what makes them again, for the message.

    Raises:
        UserError: one line about the first that is missing or was changed.
    """
    looked_at = path
    try:
        content = path.read_bytes()
        require_seal(content, IN_METADATA)
        digests = json.loads(content.rpartition(b"<!-- beside: ")[2].partition(b"\n")[0])
        for looked_at in beside:
            if sha256_of(looked_at) != digests.get(looked_at.name):
                raise SealError(f"it is not the one that {path.name} was written with")
    except OSError as error:
        require_readable(looked_at, error)
        raise FileFaultError(looked_at, f"missing or unreadable ({error.strerror})", remedy) from error
    except (ValueError, AttributeError) as error:
        wrong = f"changed since it was made ({error})"
        if looked_at == path:
            raise FileFaultError(path, wrong, remedy) from error
        raise UserError(f"{looked_at}: {wrong}; {remedy}") from error
