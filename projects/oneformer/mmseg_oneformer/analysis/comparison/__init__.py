"""Two models side by side: where their answers about the same photos differ, and a page of it."""

from .compared import Compared, compare_photo
from .differences import Difference, DifferingRegion, differences
from .gallery import Gallery
from .page import comparison_page
from .pictures import draw_compared

__all__ = [
    'Compared',
    'Difference',
    'DifferingRegion',
    'Gallery',
    'compare_photo',
    'comparison_page',
    'differences',
    'draw_compared',
]
