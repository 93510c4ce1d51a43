"""Logged numbers as curves: losses, validation scores and other numbers, each in a panel of their own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .colors import class_colors

LABELS = ('loss', 'measured', 'other')

PanelCurve = tuple[str, str, np.ndarray, np.ndarray, np.ndarray]
"""Name in the legend, panel (one of :data:`LABELS`), iterations (n,), values (n,), and smoothed values (n,)."""


def panel_of(key: str, measured: bool) -> str:
    """Return which of the panels a number belongs to: their scales differ."""
    if measured:
        return 'measured'
    return 'loss' if 'loss' in key.rpartition('.')[2] else 'other'


def draw_curves(figure: Figure, curves: Sequence[PanelCurve], title: str) -> None:
    """Draw curves into a figure, panels below each other.

    Args:
        figure: An empty figure of matplotlib.
        curves: What to draw; if values and smoothed values differ, the values themselves are drawn faintly.
        title: Title of the figure.
    """
    panels = [label for label in LABELS if any(panel == label for _, panel, *_ in curves)]
    all_axes: Any = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for label, axes in zip(panels, all_axes):
        own = [curve for curve in curves if curve[1] == label]
        for color, (name, _, steps, values, smoothed) in zip(class_colors(len(own)), own):
            tone = tuple(part / 255 for part in color)
            marker = 'o' if label == 'measured' or len(steps) == 1 else None  # few points, or a line too short to see
            if not np.array_equal(values, smoothed, equal_nan=True):
                axes.plot(steps, values, color=tone, alpha=0.25, linewidth=1)
            axes.plot(steps, smoothed, color=tone, label=name, linewidth=1.6, marker=marker, markersize=4)
        axes.set_ylabel('' if label == 'other' else label)
        axes.grid(alpha=0.25)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(fontsize=8, frameon=False, loc='center left', bbox_to_anchor=(1.0, 0.5))
    all_axes[-1].set_xlabel('iteration')
    figure.suptitle(title, fontsize=11)
