"""How Sphinx builds the site of the documentation: `make docs` writes it to site/.

The pages are Markdown, which GitHub shows too. Sphinx with MyST and Furo makes the site, not MkDocs with Material:
autodoc reads the library's docstrings and their examples as they are; search works in files that are opened without a
server; and fonts and scripts come with the site, so that an open page asks no server for anything. Of packages the two
want equally many, about twenty beside those of the workflow.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_sphinx"))

from mcoherence import __version__

project = "mcoherence"
release = version = __version__
html_title = "mcoherence"
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docstrings", "flowcharts", "own_pages"]
exclude_patterns = ["captions", "_sphinx"]

html_theme = "furo"
html_copy_source = False
html_show_search_summary = False  # which a page fetches; in files that are opened without a server it may not
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {"navigation_with_keys": True}
# Warnings end the build (`make docs`): a link to nowhere, a page that no table of contents names, a bad docstring.
nitpicky = False  # types of torch and NumPy lie outside
suppress_warnings: list[str] = []

myst_heading_anchors = 3  # as GitHub makes them, for links to a section
myst_fence_as_directive = ["mermaid"]
myst_enable_extensions = ["attrs_block"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and meanings are in words
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
default_role = "code"  # single backticks are code in our docstrings
