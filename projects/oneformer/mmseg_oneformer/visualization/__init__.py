"""Pictures of predictions, for all three tasks."""

from .colors import class_colors, instance_color, palette_colors
from .overlay import Segment, draw_instances, draw_panoptic, draw_segments, draw_semantic, enlarge
from .panel import grid, panel, token_panel
from .samples import draw_predictions, draw_sample, draw_tokens, draw_truth
from .visualizer import OneFormerVisualizer

__all__ = [
    'OneFormerVisualizer',
    'Segment',
    'class_colors',
    'draw_instances',
    'draw_panoptic',
    'draw_predictions',
    'draw_sample',
    'draw_segments',
    'draw_semantic',
    'draw_tokens',
    'draw_truth',
    'enlarge',
    'grid',
    'instance_color',
    'palette_colors',
    'panel',
    'token_panel',
]
