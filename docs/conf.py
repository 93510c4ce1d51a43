"""Settings of the documentation's site: `make docs` builds it into site/; any warning is an error."""

import mmseg_oneformer
from mmseg_oneformer.version import __version__

project, author, release = 'mmseg_oneformer', 'the authors of mmseg_oneformer', __version__
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton']
myst_heading_anchors = 4  # links such as training.md#resume
exclude_patterns = ['images']
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
napoleon_google_docstring, napoleon_numpy_docstring = True, False
html_theme = 'furo'
html_title = f'mmseg_oneformer {release}'
html_copy_source = False
copybutton_exclude = '.linenos, .gp, .go'
assert mmseg_oneformer  # makes the OpenMMLab wheels importable, for autodoc
