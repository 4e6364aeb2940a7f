"""Names at the ends of lines, kept apart, in place of a legend that the eye must travel to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

_OFFSET = 0.045  # of the names to the right of the axes, in widths of the axes
_LINE_HEIGHT = 1.35  # in font sizes
_FONT_SIZE = 8.5  # points


def label_lines(axes: Axes, names: Sequence[str]) -> None:
    """Write the name of each line to the right of the axes at the height of its last point, with a thin connection.

    Call it last: the limits of the axes are final afterwards.

    Args:
        axes: holds one line per name, in the order of the names.
        names: of the lines.
    """
    lines = axes.get_lines()
    axes.set_xlim(*axes.get_xlim())
    axes.set_ylim(*axes.get_ylim())
    ends = [_last_point(line) for line in lines]
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = [float(to_axes.transform(end)[1]) for end in ends]
    figure = axes.get_figure(root=True)
    assert figure is not None
    axes_height = 0.78 * figure.get_size_inches()[1] * 72  # points, before the layout is known
    gap = _LINE_HEIGHT * _FONT_SIZE / axes_height
    for line, name, end, height in zip(lines, names, ends, spread(heights, gap), strict=True):
        axes.annotate(
            name, end, xytext=(1 + _OFFSET, height), xycoords="data", textcoords="axes fraction",
            color=_darker(line), fontsize=_FONT_SIZE, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.7, "alpha": 0.7,
                        "linestyle": line.get_linestyle(),
                        "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)},
        )  # fmt: skip


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights near the given ones, in their order, at least `gap` apart, and inside [0, 1] where they fit.

    Neighbours that are too close form a block around their mean; blocks that touch merge.

    >>> spread([0.5, 0.5], 0.1)
    [0.45, 0.55]
    """
    order = sorted(range(len(heights)), key=lambda i: (heights[i], i))
    gap = min(gap, 1 / max(len(heights) - 1, 1))
    blocks: list[list[int]] = []

    def bottom(block: list[int]) -> float:
        extent = gap * (len(block) - 1)
        middle = math.fsum(heights[i] for i in block) / len(block)
        return min(max(middle - extent / 2, 0.0), 1.0 - extent)

    for i in order:
        blocks.append([i])
        while len(blocks) > 1 and bottom(blocks[-1]) < bottom(blocks[-2]) + gap * len(blocks[-2]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    placed = [0.0] * len(heights)
    for block in blocks:
        for k, i in enumerate(block):
            placed[i] = round(bottom(block) + k * gap, 9)
    assert all(placed[b] >= placed[a] for a, b in pairwise(order))
    return placed


def _darker(line: Line2D) -> tuple[float, float, float]:
    """The colour of the line, dark enough for thin letters on white."""
    red, green, blue = to_rgb(line.get_color())
    return 0.75 * red, 0.75 * green, 0.75 * blue


def _last_point(line: Line2D) -> tuple[float, float]:
    """The last point that can be drawn."""
    points = np.column_stack(line.get_data())
    points = points[np.isfinite(points[:, 1])]
    return (float(points[-1, 0]), float(points[-1, 1])) if len(points) else (0.0, 0.0)
