"""Two models side by side: where their predictions for the same photos differ, and a page of it."""

from .measure import Compared, Difference, DifferingRegion, compare_photo, describe_quality, differences
from .page import Gallery, comparison_page, draw_compared

__all__ = [
    'Compared',
    'Difference',
    'DifferingRegion',
    'Gallery',
    'compare_photo',
    'comparison_page',
    'describe_quality',
    'differences',
    'draw_compared',
]
