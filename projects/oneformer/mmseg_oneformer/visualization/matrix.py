"""A confusion matrix as a picture."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from ..errors import UserError
from ..files import atomic_path

NORMALIZE = ('truth', 'prediction', 'none')
"""Shares of the annotated class (rows), of the predicted one (columns), or counts."""


def normalized(matrix: np.ndarray, by: str) -> np.ndarray:
    """Return the shares (n, n) in percent that ``by``, one of :data:`NORMALIZE`, names; nan where there is nothing."""
    if by == 'none':
        return matrix.astype(np.float64)
    total = matrix.sum(axis=1, keepdims=True) if by == 'truth' else matrix.sum(axis=0, keepdims=True)
    return np.divide(100.0 * matrix, total, out=np.full(matrix.shape, np.nan), where=total > 0)


def save_matrix(
    path: str | os.PathLike[str],
    matrix: np.ndarray,
    names: Sequence[str],
    title: str = '',
    normalize: str = 'truth',
    color_theme: str = 'Blues',
) -> None:
    """Draw a confusion matrix; with up to 30 classes its cells have numbers.

    Args:
        path: Picture to write, such as a PNG.
        matrix: (n, n) counts, rows annotated, columns predicted.
        names: n names.
        title: Above the matrix.
        normalize: One of :data:`NORMALIZE`.
        color_theme: A colour map of matplotlib.

    Raises:
        UserError: An unknown normalisation or colour map.
    """
    if normalize not in NORMALIZE:
        raise UserError(f'normalize is {normalize!r}; choose one of {", ".join(NORMALIZE)}.')
    if color_theme not in colormaps:
        raise UserError(f'matplotlib has no colour map {color_theme!r}; use Blues, viridis or plasma, for example.')
    values, count = normalized(matrix, normalize), len(names)
    shown = np.log10(1 + values) if normalize == 'none' else values  # counts span many orders of magnitude
    side = 2.6 + max(4.5, 0.42 * count if count <= 30 else 0.19 * count)
    figure = Figure(figsize=(side + 0.8, side), layout='constrained')
    axes = figure.add_subplot()
    limit = None if normalize == 'none' else 100
    colors = colormaps[color_theme].with_extremes(bad='#f1f1f1')
    image = axes.imshow(shown, cmap=colors, vmin=0, vmax=limit)
    letters = 9 if count <= 30 else 7
    axes.set_xticks(range(count), names, rotation=90, fontsize=letters)
    axes.set_yticks(range(count), names, fontsize=letters)
    axes.set_xlabel('predicted')
    axes.set_ylabel('annotated')
    axes.set_title(title, fontsize=11)
    axes.axhline(count - 1.5, color='0.5', linewidth=0.8)  # void and "no segment" are not classes
    axes.axvline(count - 1.5, color='0.5', linewidth=0.8)
    units = {'truth': '% of the annotated', 'prediction': '% of the predicted', 'none': 'log10 of 1 + count'}
    figure.colorbar(image, ax=axes, shrink=0.6, label=units[normalize])
    if count <= 30:
        _write_numbers(axes, values, shown, letters - 1.5, image)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _write_numbers(axes: Any, values: np.ndarray, shown: np.ndarray, size: float, image: Any) -> None:
    """Write the values that do not round to 0 into their cells, dark on light and light on dark."""
    for (row, column), value in np.ndenumerate(values):
        if value >= 0.5:
            red, green, blue, _ = image.cmap(image.norm(shown[row, column]))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
            text = f'{value:.0f}' if value < 10_000 else f'{value:.0e}'.replace('e+0', 'e')
            axes.text(column, row, text, ha='center', va='center', fontsize=size, color='white' if dark else '0.15')
