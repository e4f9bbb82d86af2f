"""How `scripts/docs` builds the site: Sphinx, Markdown by MyST-NB, the API from docstrings.

The source folder is the root of the repository, so that a link from `docs/` to `notebooks/` is the
same on the site and where the Markdown is read as it is.
"""

import logging
import pathlib
import sys

DOCS = pathlib.Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))

import mae_keras  # noqa: E402

project = "mae_keras"
author = copyright = "The mae_keras authors"
version = release = mae_keras.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",  # these five: docs/_extensions/
    "mathml",
    "packages",
    "stacked_tables",
    "unbroken_names",
]
root_doc = "docs/index"
include_patterns = ["docs/**", "notebooks/*.ipynb"]
# Folders that a search for pages need not enter.
exclude_patterns = [".*", "**/.*", "build", "dist", "mae_keras", "runs", "scripts", "tests"]
# Without notebooks their list is empty, which is no reason to fail. (This warning has no type that
# `suppress_warnings` could name.)
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: getattr(record, "subtype", None) != "empty_glob"
)

myst_enable_extensions = ["dollarmath", "html_image", "tasklist"]
html_math_renderer = "mathml"
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are committed with their outputs

default_role = "name_or_code"
autodoc_inherit_docstrings = False
autodoc_typehints = "none"  # `Args:` says it in words
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes as a list, not as entries of their own
napoleon_custom_sections = [("Call arguments", "params_style")]
toc_object_entries_show_parents = "hide"  # `fit()` under its class, not `Class.fit()` in two lines
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"mae_keras {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_root"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "tango"
pygments_dark_style = "monokai"
highlight_options = {"python": {"stripnl": True}}  # doctests end in an empty line
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
