"""What became of every segment: a JSON file of all images and a page to browse the worst."""

from .metric import SegmentReport, report_config
from .records import image_record

__all__ = ['SegmentReport', 'image_record', 'report_config']
