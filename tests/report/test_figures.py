"""What the figures draw against the records, and their files to the byte."""

from datetime import datetime

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from report_cases import SIGMAS, changed, demo, points, profile, run, seeded

from sacreddnn.report import figures, style
from sacreddnn.report.curve_table import curve_table
from sacreddnn.report.labels import spread
from sacreddnn.report.tables import comparison, to_text
from sacreddnn.tracking.folder import Series
from sacreddnn.tracking.runs import Record

NOW = datetime(2025, 1, 1)


def lines(figure):
    """Line artists by label."""
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def band(figure, index=0):
    """Vertices of one band."""
    return figure.axes[0].collections[index].get_paths()[0].vertices


def test_single_runs_are_drawn_as_recorded():
    records = demo()
    drawn = lines(figures.learning_curves(records))
    assert list(drawn) == ["SGD", "Entropy-SGD", "Replicated-SGD"]
    for record, line in zip(records, drawn.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), record.metrics["gradient_evaluations"])
        np.testing.assert_array_equal(line.get_ydata(), record.metrics["value"])


def test_one_algorithm_on_two_data_sets_is_two_names():
    other = run(2)
    other.config["dataset"]["name"] = "mnist"
    assert list(lines(figures.learning_curves([run(1), other]))) == ["SGD, Fashion-MNIST", "SGD, MNIST"]
    table = curve_table([run(1), other], "test/center/error", "epochs")
    assert not table.duplicated(["label", "epochs"]).any()


def test_seeds_are_a_mean_and_a_band():
    curves = [[(1, 6.0, 10), (2, 3.0, 20), (3, 0.0, 30)], [(1, 4.0, 10), (2, 1.0, 20)]]
    records = [changed(run(i, seed=i), metrics=points({"test/center/error": c})) for i, c in enumerate(curves)]
    figure = figures.learning_curves(records)
    (line,) = lines(figure).values()
    assert line.get_xydata().tolist() == [[10, 5], [20, 2]]  # the step that one run has not reached is not drawn
    assert {tuple(v) for v in band(figure)} >= {(10, 4), (10, 6), (20, 1), (20, 3)}  # standard error 1


def test_the_last_value_of_a_step_counts():
    record = changed(run(1), metrics=points({"test/center/error": [(1, 9.0, 10), (2, 8.0, 20), (2, 7.0, 20)]}))
    (line,) = lines(figures.learning_curves([record])).values()
    assert line.get_ydata().tolist() == [9, 7]


def test_points_without_cost_are_not_drawn():
    record = changed(run(1), metrics=points({"test/center/error": [(1, 9.0, None), (2, 8.0, 20), (3, 7.0, 30)]}))
    (line,) = lines(figures.learning_curves([record])).values()
    assert line.get_xdata().tolist() == [20, 30]


def test_profile_and_its_band():
    record = run(1, scale=2.0)
    figure = figures.local_energy_profiles([record])
    (line,) = lines(figure).values()
    assert line.get_xdata().tolist() == SIGMAS
    assert line.get_ydata().tolist() == record.info["local_energy"]["error"]
    assert any(np.allclose(v, (0.5, 50.1)) for v in band(figure))
    assert figure.axes[0].get_ylabel() == "Rise of the train error (percentage points)"


def test_profile_of_the_loss_over_seeds():
    records = [run(1 + seed, seed=seed, scale=1.0 + 2 * seed) for seed in range(2)]
    figure = figures.local_energy_profiles(records, "loss")
    (line,) = lines(figure).values()
    assert line.get_ydata()[-1] == pytest.approx((25 + 75) / 2 / 20)
    assert any(np.allclose(v, (0.5, 2.5 + 1.25)) for v in band(figure))  # |3.75 - 1.25| / 2
    assert "(nats)" in figure.axes[0].get_ylabel()


def test_logarithmic_only_where_it_shows_more():
    def scale(*values):
        curve = [(i, value, 10 * i) for i, value in enumerate(values, 1)]
        record = changed(run(1), metrics=points({"test/center/error": curve}))
        return figures.learning_curves([record]).axes[0].get_yscale()

    assert scale(90.0, 30.0, 5.0) == "log"
    assert scale(20.0, 9.0) == "linear"
    assert scale(20.0, 0.0) == "linear"
    assert scale(float("nan"), 3.0) == "linear"


def test_every_algorithm_keeps_its_colour():
    alone, together = lines(figures.learning_curves(seeded()[6:9])), lines(figures.learning_curves(seeded()))
    assert alone["Replicated-SGD"].get_color() == together["Replicated-SGD"].get_color() == "#D55E00"
    assert len({line.get_color() for line in together.values()}) == 5


def test_configs_of_one_algorithm_are_told_apart_by_dashes():
    drawn = lines(figures.learning_curves([run(1, coupling=1.0), run(2, coupling=2.0)]))
    assert [line.get_linestyle() for line in drawn.values()] == ["-", "--"]


def test_names_stand_beside_the_lines_and_apart():
    axes = figures.learning_curves(seeded()).axes[0]
    names = [text for text in axes.texts if text.get_text() in lines(axes.figure)]
    assert len(names) == 5
    boxes = sorted((text.get_window_extent() for text in names), key=lambda box: box.y0)
    # the box of an annotation includes its connection: compare the text alone
    heights = sorted(text.xyann[1] for text in names)
    assert np.diff(heights).min() > 0.04
    assert all(box.x1 <= axes.figure.bbox.x1 for box in boxes)


def test_spread_keeps_order_gap_and_limits():
    placed = spread([0.0, 0.01, 0.5, 0.02, 1.0], 0.1)
    assert placed == pytest.approx([0.0, 0.1, 0.5, 0.2, 1.0])
    assert spread([0.3], 0.1) == [0.3]
    assert spread([0.5] * 30, 0.1)[-1] == pytest.approx(1.0)  # too many: closer, but inside


def test_title_and_note_say_what_is_shown():
    def texts(figure):
        return figure.axes[0].get_title(loc="left"), figure.axes[0].texts[0].get_text()

    assert texts(figures.learning_curves(demo())) == ("LeNet on Fashion-MNIST", "single runs, seed 0")
    assert texts(figures.learning_curves(seeded()))[1] == "mean ± standard error over 3 runs, seeds 0, 1, 2"
    assert "over draws of the noise" in texts(figures.local_energy_profiles(demo()))[1]


def test_errors_say_what_there_is():
    with pytest.raises(
        ValueError, match=r"'test/center/eror' is in none of the runs, did you mean test/center/error\?"
    ):
        figures.learning_curves(demo(), "test/center/eror")
    with pytest.raises(ValueError, match=r"none holds a local-energy profile.*num_samples"):
        figures.local_energy_profiles([changed(run(1), info={})])
    with pytest.raises(ValueError, match="quantity: 'accuracy' is not allowed, allowed: error, loss"):
        figures.local_energy_profiles(demo(), "accuracy")
    with pytest.raises(ValueError, match="records: empty"):
        figures.learning_curves([])


def test_a_record_of_the_database_is_a_record_of_the_report():
    made = run(1)
    steps = [int(step) for step in made.metrics["step"]]
    series = Series(
        steps, made.metrics["value"].tolist(), made.metrics["gradient_evaluations"].tolist(), [NOW] * len(steps)
    )
    record = Record(
        run_id=1, uuid="uuid", status="COMPLETED", start_time=NOW, stop_time=NOW, config=made.config, config_hash="",
        result=made.result, info=made.info,
    )  # fmt: skip
    record.series = {"test/center/error": series, "without/any/cost": Series([1], [1.0], [None], [NOW])}
    (line,) = lines(figures.learning_curves([record])).values()
    assert line.get_ydata().tolist() == made.metrics["value"].tolist()
    assert to_text(comparison([record])) == to_text(comparison([made]))


def test_runs_without_the_numbers_are_passed_over():
    without = changed(run(4, "sam"), info={}, metrics=points({}))
    assert "SAM" not in lines(figures.learning_curves([*demo(), without]))
    assert "SAM" not in lines(figures.local_energy_profiles([*demo(), without]))
    assert len(lines(figures.local_energy_profiles([run(1), changed(run(2, seed=1), info={})]))) == 1


def test_a_profile_measured_at_other_sigmas_still_has_a_line():
    other = changed(
        run(2, seed=1), info={"local_energy": profile(2.0, sigmas=[0.0, 0.2], error=[0, 8], error_se=[0, 1])}
    )
    (line,) = lines(figures.local_energy_profiles([run(1), other])).values()
    assert line.get_xydata().tolist() == [[0, 0], [0.2, 6]]


def test_files_are_equal_to_the_byte_whatever_the_reader_has_set(tmp_path, monkeypatch):
    first = figures.save(figures.learning_curves(seeded()), tmp_path / "new" / "a")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    with matplotlib.rc_context(
        {"figure.figsize": (3, 3), "font.size": 20, "lines.linewidth": 9, "axes.facecolor": "black"}
    ):
        figure = figures.learning_curves(seeded()[::-1])
        second = figures.save(figure, tmp_path / "b.png")
        third = figures.save(figure, tmp_path / "c.pdf")
    assert [path.name for path in (*first, *second, *third)] == ["a.png", "a.pdf", "b.png", "b.pdf", "c.png", "c.pdf"]
    for one, other, again in zip(first, second, third, strict=True):
        assert one.read_bytes() == other.read_bytes() == again.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.pdf", "b.png", "c.pdf", "c.png", "new"]


def test_picture_has_the_size_of_a_page_column(tmp_path):
    png, pdf = figures.save(figures.local_energy_profiles(demo()), tmp_path / "lr0.1")
    assert png.name == "lr0.1.png"
    assert png.read_bytes()[16:24] == (960).to_bytes(4) + (640).to_bytes(4)  # 6 x 4 inch at 160 dpi
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"CreationDate" not in pdf.read_bytes()


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match=r"a\.png"):
        figures.save(figures.learning_curves(demo()), tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_colours_differ_for_the_colour_blind():
    """Viénot, Brettel and Mollon 1999: linear RGB as a dichromat sees it; pairs stay at least 15 of 255 apart."""
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    colors = [look.color for look in style.ALGORITHMS.values()]
    rgb = np.array([[int(to_hex(c)[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colors])
    for sees in (np.eye(3), protan, deutan):
        seen = 255 * np.clip(rgb**2.2 @ sees.T, 0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 1e9 * np.eye(len(colors))
        assert apart.min() > 15
    assert len({look.marker for look in style.ALGORITHMS.values()}) == len(style.ALGORITHMS)
