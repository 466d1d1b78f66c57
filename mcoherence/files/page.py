"""HTML pages that need nothing else: the frame and the style that all pages of a study share.

Templates are text in the modules that fill them, no files of their own: the digest of the code holds them.
"""

from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

FRAME = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
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
