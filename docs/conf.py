"""How sphinx makes the pages: `make docs`."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

import spliceai_jax

project = "spliceai-jax"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# The source is the whole repository: README's links are checked as they stand.
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "demo/*.md", "benchmarks/*.md"]
exclude_patterns = [".*", "build"]
html_theme = "furo"
html_title = "spliceai-jax"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
myst_heading_anchors = 3
default_role = "code"  # docstrings write names between single backticks
autodoc_default_options = {"members": True}
napoleon_use_ivar = True
napoleon_use_rtype = False

nitpick_ignore_regex = [
    (r"py:.*", r"(?!spliceai_jax\.).*"),  # types of other packages have no page here
    (r"py:class", r"spliceai_jax\..*\.T"),  # variables of types have none either
]

# The public names are imported when they are first used. Here all of them are imported, under their public names.
for _name in spliceai_jax.__all__:
    _public = getattr(spliceai_jax, _name)
    setattr(spliceai_jax, _name, _public)
    if isinstance(_public, type) or callable(_public):
        _public.__module__ = "spliceai_jax"


def _find_misread_docstrings(app: Sphinx, doctree: nodes.document) -> None:
    """Warn of prose in the place of a type: napoleon takes what stands before a colon for one.

    Types stand in the signatures, so no field of a type is expected at all; and what is raised is the name of a class.
    """
    for field in doctree.findall(nodes.field):
        name, body = (part.astext() for part in field.children)
        first = body.split(" – ")[0]
        if name in ("Type", "Return type", "Yield type") or (name == "Raises" and not first.isidentifier()):
            logging.getLogger(__name__).warning("%s: %s: a docstring was misread", name, first, location=field)


def _mark_long_literals(app: Sphinx, doctree: nodes.document) -> None:
    """Give literals that are longer than a narrow line a class: `_static/pages.css` breaks no others."""
    for literal in doctree.findall(nodes.literal):
        if max(map(len, literal.astext().split()), default=0) > 30:
            literal["classes"].append("long")


def setup(app: Sphinx) -> None:
    """Called by sphinx."""
    app.connect("doctree-read", _find_misread_docstrings)
    app.connect("doctree-read", _mark_long_literals)
