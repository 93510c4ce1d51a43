"""The curves of runs as a picture."""

import os
from collections.abc import Sequence

from matplotlib.figure import Figure

from ..errors import UserError
from ..files import atomic_path
from ..visualization.curves import PanelCurve, draw_curves, panel_of
from .logs import Curve, Run, available_keys, find_curves, smooth

USUAL = ('loss', 'PQ', 'AP', 'mIoU')
"""The curves drawn by default."""

PARTS = ('all.loss_cls', 'all.loss_mask', 'all.loss_dice', 'loss_contrastive')
"""The terms of the loss; those of all decoder layers are summed."""


def usual_curves(run: Run, parts: bool) -> list[Curve]:
    """Return the usual curves that a run has.

    Args:
        run: A run.
        parts: Include the terms of the loss.

    Raises:
        UserError: The run has logged none of them.
    """
    known = available_keys(run)
    wanted = (USUAL[0], *(PARTS if parts else ()), *USUAL[1:])
    curves = [curve for key in wanted if key.removeprefix('all.') in known for curve in find_curves(run, key)]
    if not curves:
        raise UserError(
            f'{run.name} has logged none of {", ".join(USUAL)}; '
            'tools/analysis_tools/analyze_logs.py --keys draws others.'
        )
    return curves


def in_panels(curves: Sequence[tuple[str, Curve]], window: int) -> list[PanelCurve]:
    """Return what :func:`~..visualization.curves.draw_curves` draws.

    Args:
        curves: Names for the legend, and curves.
        window: Number of training points that are averaged; validation scores are never smoothed.
    """
    return [
        (
            name,
            panel_of(curve.key, curve.measured),
            curve.steps,
            curve.values,
            curve.values if curve.measured else smooth(curve.values, window),
        )
        for name, curve in curves
    ]


def figure_size(drawn: Sequence[PanelCurve]) -> tuple[float, float]:
    """Return width and height in inches; each panel has the same height."""
    return 9.5, 1.2 + 2.8 * len({panel for _, panel, *_ in drawn})


def save_curves(path: str | os.PathLike[str], curves: Sequence[tuple[str, Curve]], title: str, window: int = 1) -> None:
    """Write curves as a picture.

    Args:
        path: Output file; its suffix sets the format, such as .png, .svg or .pdf.
        curves: Names for the legend, and curves.
        title: Title of the figure.
        window: As for :func:`in_panels`.
    """
    drawn = in_panels(curves, window)
    figure = Figure(figsize=figure_size(drawn), layout='constrained')
    draw_curves(figure, drawn, title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
