"""The figure of theory beside single networks: what is drawn, and that equal numbers are equal files."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sacreddnn.report import figures
from sacreddnn.report.shallow_theory_figure import COLUMNS, theory_figure


def numbers():
    rows = []
    for curve, slope in (("typical", -1.0), ("bayes_point", -0.2)):
        rows += [("local_entropy", curve, "theory", d, slope * d, 0.0) for d in (0.1, 0.2, 0.4)]
        rows += [("local_entropy", curve, source, 0.3, slope * 0.3, 0.01) for source in ("amp", "sampling")]
    for load in (0.5, 2.0):
        for panel in ("test_error", "local_energy"):
            rows += [(panel, f"alpha={load:g}", "theory", lam, 20 / load + lam, 0.0) for lam in (0.1, 1.0, 10.0)]
            rows.append((panel, f"alpha={load:g}", "sample", 1.0, 20 / load + 1, 0.3))
            rows += [
                (panel, f"alpha={load:g} bayes", source, np.inf, 15 / load, 0.2) for source in ("theory", "sample")
            ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_what_is_drawn():
    figure = theory_figure(numbers())
    left, middle, right = figure.axes
    drawn = [line.get_ydata() for line in left.lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(drawn, [[-0.02, -0.04, -0.08], [-0.1, -0.2, -0.4]])
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["Bayes point", "typical solution, teacher", "AMP", "exact sampling"]
    assert len(left.containers) == 4  # of points with error bars
    for axes in (middle, right):
        assert axes.get_xscale() == "log"
        levels = [
            line.get_ydata()[0]
            for line in axes.lines
            if len(set(line.get_ydata())) == 1 and line.get_linestyle() == "--"
        ]
        assert levels == [30.0, 7.5]
        assert len(axes.containers) == 4
        assert np.isfinite(axes.get_xlim()).all()
    assert right.get_ylim()[0] == 0
    plt.close(figure)


def test_equal_numbers_are_equal_files():
    one, other = (theory_figure(numbers()) for _ in range(2))
    for kind in ("png", "pdf"):
        assert figures.render(one, kind) == figures.render(other, kind)
    plt.close(one)
    plt.close(other)
