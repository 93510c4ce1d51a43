"""Settings of the documentation's site: `make docs` builds it into site/; any warning is an error."""

import mmseg_oneformer
from mmseg_oneformer.version import __version__

assert mmseg_oneformer  # first: makes the OpenMMLab wheels importable, for autodoc

project, author, release = 'mmseg_oneformer', 'the authors of mmseg_oneformer', __version__
extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton']
exclude_patterns = ['images', '_static']
highlight_language = 'none'  # of a block that names none: trees of files, tables
myst_heading_anchors = 4  # links such as training.md#resuming-exactly

# The notebook is committed without outputs and run by every build: what the site shows is what the code returns.
nb_execution_mode = 'force'
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
nb_output_stderr = 'remove'  # Progress bars and warnings of libraries about this machine.

autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype = False

# A name of ours without an entry is an error too. Those of other libraries have theirs elsewhere, and no build asks the
# network for them; single words come from prose in a docstring's place for types.
nitpicky = True
OTHERS = r'(collections|os|pathlib|typing|types|numpy|torch|PIL|cv2|mmengine|mmcv|mmdet|mmseg|supervision|fastapi)\b.*'
nitpick_ignore_regex = [(r'py:.*', OTHERS), (r'py:.*', r'\w+|.* .*|(exports|agreement)\.\w+')]

html_theme = 'furo'
html_title = 'OneFormer in OpenMMLab'
html_static_path, html_css_files = ['_static'], ['site.css']
html_copy_source = False
html_show_sourcelink = False
copybutton_exclude = '.linenos, .gp, .go'
