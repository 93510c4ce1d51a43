"""Two models side by side: where their answers about the same photos differ, and a page of it."""

from .differences import Difference, Region, differences
from .gallery import Gallery
from .page import comparison_page
from .records import Compared, compare_photo, draw_compared

__all__ = [
    'Compared',
    'Difference',
    'Gallery',
    'Region',
    'compare_photo',
    'comparison_page',
    'differences',
    'draw_compared',
]
