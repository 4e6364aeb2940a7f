import itertools
import math
import re
from dataclasses import replace

import pandas as pd
import pytest
from report_cases import changed, run
from scipy import stats

from sacreddnn.report import command, correlate
from sacreddnn.report.correlate import Network
from sacreddnn.report.correlate_figure import scatter


def network(number, algorithm, error, **values):
    return Network(str(number), algorithm, {"test/center/error": error, "local_energy": 1.0, **values})


ERRORS = [8.0, 7.0, 7.5, 9.0, 6.0, 7.0]
FLAT = [3.0, 2.0, 2.5, 2.0, 1.0, 2.6]
SIX = [network(i, "sgd" if i < 3 else "esgd", e, flat=f) for i, (e, f) in enumerate(zip(ERRORS, FLAT, strict=True))]


def tau_by_hand(pairs, scale_groups):
    """(C - D) over sum_a sqrt(P_a Q_a), pair by pair."""
    agreement = sum(math.copysign(1, (a - c) * (b - d)) if (a - c) * (b - d) else 0 for (a, b), (c, d) in pairs)
    scale = 0.0
    for group in scale_groups:
        both = list(itertools.combinations(group, 2))
        scale += math.sqrt(sum(a[0] != b[0] for a, b in both) * sum(a[1] != b[1] for a, b in both))
    return agreement / scale


def test_taus_are_those_of_counting_pairs():
    frame = correlate.correlate(SIX, measures=["flat"])
    points = list(zip(FLAT, ERRORS, strict=True))
    assert frame.loc["flat", "tau"] == pytest.approx(tau_by_hand(itertools.combinations(points, 2), [points]))
    assert frame.loc["flat", "p"] == pytest.approx(stats.kendalltau(FLAT, ERRORS).pvalue)
    groups = [points[:3], points[3:]]
    pairs = [pair for group in groups for pair in itertools.combinations(group, 2)]
    assert frame.loc["flat", "tau_within"] == pytest.approx(tau_by_hand(pairs, groups))
    assert math.isnan(frame.loc["flat", "tau_means"])  # two algorithms are no correlation


def test_the_p_value_within_is_the_fraction_of_permutations():
    """Three networks of one algorithm in perfect order: 2 of 6 permutations are as extreme."""
    ordered = [network(i, "sgd", float(i), flat=float(i)) for i in range(3)]
    others = [network(10, "sam", 1.0, flat=2.0)]  # alone: no pair within
    frame = correlate.correlate([*ordered, *others], measures=["flat"])
    assert frame.loc["flat", "tau_within"] == pytest.approx(1.0)
    assert frame.loc["flat", "p_within"] == pytest.approx(2 / 6, abs=0.02)


def test_a_measure_that_only_tells_algorithms_apart_has_no_tau_within():
    """Simpson's paradox: overall positive, within each algorithm negative."""
    apart = [network(10 * a + i, name, 10 * a - i, flat=10.0 * a + i)
             for a, name in enumerate(["sgd", "esgd", "sam", "swa"]) for i in range(3)]  # fmt: skip
    row = correlate.correlate(apart, measures=["flat"]).loc["flat"]
    assert row["tau"] > 0.4
    assert row["tau_within"] == pytest.approx(-1)
    assert row["tau_means"] == pytest.approx(1)


def test_constant_measures_and_error_bars_are_no_measures():
    frame = correlate.correlate([Network(n.run, n.algorithm, {**n.values, "flat_se": 0.1}) for n in SIX])
    assert list(frame.index) == ["flat"]


@pytest.mark.parametrize(
    ("given", "options", "line"),
    [
        (SIX[:3], {}, "3 networks: 4 with a measure and a test error are needed"),
        (SIX, {"measures": ["flatt"]}, "measure 'flatt': no run has it; measured: flat, local_energy"),
        (SIX, {"measures": ["local_energy"]}, "measure 'local_energy': 6 networks with different values; 4 are needed"),
        (SIX, {"target": "train"}, "target: 'train' is not allowed, allowed: test_error, gap"),
    ],
)
def test_what_cannot_be_correlated_is_said(given, options, line):
    with pytest.raises(ValueError, match=f"^{re.escape(line)}"):
        correlate.correlate(given, **options)


def test_what_was_measured_later_is_joined_to_its_run():
    trained = run(7)
    later = run(9)
    later.info.clear()
    later.info["source"] = {"run": "7", "file": "center.pt", "algorithm": {"name": "sgd"}}
    later.result.clear()
    later.result["hessian_trace"] = 5.0
    joined = correlate.networks([later, trained])
    assert [n.run for n in joined] == ["7"]
    assert joined[0].values["hessian_trace"] == 5.0
    assert "test/center/error" in joined[0].values


def measurement(number, **source):
    later = run(number)
    for part in (later.config, later.info, later.result):
        part.clear()
    later.info["source"] = {"file": "center.pt", "algorithm": {"name": "sgd"}, "dataset": "fashion_mnist", **source}
    later.result["hessian_trace"] = 5.0
    return later


def test_a_measurement_is_joined_to_the_run_of_its_uuid_not_of_its_number():
    """Numbers are local: 7 here is not the 7 of the machine that measured."""
    seven, eight = run(7), run(8)
    joined = {n.run: n.values for n in correlate.networks([measurement(9, run="7", uuid=eight.uuid), seven, eight])}
    assert joined.keys() == {"7", "8"}
    assert "hessian_trace" not in joined["7"]
    assert joined["8"]["hessian_trace"] == 5.0


def test_a_measurement_of_a_run_that_is_not_here_is_joined_to_none():
    networks = correlate.networks([measurement(9, run="7", uuid="0" * 32), run(7)])
    assert [(n.run, "hessian_trace" in n.values) for n in networks] == [("7", False), ("7", True)]


def test_a_checkpoint_on_the_way_is_a_network_of_its_own():
    seven = run(7, test=8.0)
    early, final = measurement(9, run="7", uuid=seven.uuid, step=468), measurement(8, run="7", uuid=seven.uuid)
    early.result.update({"test/center/error": 31.0, "hessian_trace": 70.0})
    networks = {n.run: n.values for n in correlate.networks([seven, early, final])}
    assert networks.keys() == {"7", "7 at step 468"}
    assert (networks["7"]["test/center/error"], networks["7"]["hessian_trace"]) == (8.0, 5.0)
    assert networks["7 at step 468"]["test/center/error"] == 31.0


def test_errors_on_another_data_set_do_not_replace_those_of_the_training():
    seven = run(7, test=8.0)
    elsewhere = measurement(9, run="7", uuid=seven.uuid, dataset="mnist")
    elsewhere.result["test/center/error"] = 88.0
    networks = {n.dataset: n.values["test/center/error"] for n in correlate.networks([seven, elsewhere])}
    assert networks == {"fashion_mnist": 8.0, "mnist": 88.0}


@pytest.mark.parametrize(
    ("measure", "sign"),
    [("local_energy", 1), ("hessian_trace", 1), ("sharpness_adaptive", 1), ("local_entropy_loss", 1),
     ("pac_bayes_sigma", -1), ("pac_bayes_sigma_magnitude", -1), ("margin_10", -1), ("path_norm", 1), ("flat", None)],
)  # fmt: skip
def test_the_table_says_which_sign_is_expected(measure, sign):
    """More noise for the same loss is flatter: the sign of the PAC-Bayes sigma is the other one."""
    named = [replace(n, values={**n.values, measure: f}) for n, f in zip(SIX, FLAT, strict=True)]
    frame = correlate.correlate(named, measures=[measure])
    shown = frame.loc[measure, "expected"]
    assert shown == sign if sign else shown is pd.NA
    row = next(line for line in correlate.to_text(frame, "test_error", 2).splitlines() if line.startswith(measure))
    assert row.split()[2].startswith({1: "+1", -1: "-1", None: "+0.36"}[sign])
    assert frame.to_csv().splitlines()[1].split(",")[2] == (str(sign) if sign else "")


def test_what_did_not_complete_is_counted_in_the_notes(monkeypatch, capsys):
    trained = [run(n, test=5.0 + n) for n in range(1, 5)]
    for record in trained:
        record.result["flat"] = float(record.run_id)
    killed = [changed(measurement(n, run="1"), status=status) for n, status in ((11, "RUNNING"), (12, "FAILED"))]
    stopped = changed(run(5), status="INTERRUPTED")
    monkeypatch.setattr(command, "read_records", lambda arguments: [*trained, *killed, stopped])
    assert command.main(["correlate"]) == 0
    note = "left out because they did not complete: 2 measurements and 1 training."
    assert note in capsys.readouterr().out.splitlines()
    assert correlate.incomplete(trained) == []


def test_errors_on_several_data_sets_do_not_compare():
    others = [replace(n, dataset="digits" if n.run == "3" else "mnist") for n in SIX]
    with pytest.raises(ValueError, match=r"^networks of several data sets \(digits, mnist\) do not compare"):
        correlate.correlate(others)


def with_energy(number, options, section):
    record = run(number, test=5.0 + number)
    record.result["local_energy"] = float(number)
    record.config["evaluation" if section == "flatness" else section] = (
        {"flatness": options} if section == "flatness" else options
    )
    return record


def test_measures_taken_in_different_ways_do_not_compare():
    """The local energy of a training and that measured later compare if they are of one kind, whatever the draws."""
    options = {"headline": 0.3, "noise": "multiplicative", "num_samples": 10}
    alike = [with_energy(n, options, "flatness") for n in range(1, 5)]
    later = with_energy(5, {**options, "num_samples": 50, "draws_at_once": 4}, "local_energy")
    frame = correlate.correlate(correlate.networks([*alike, later]), measures=["local_energy"])
    assert frame.loc["local_energy", "networks"] == 5
    other = with_energy(5, {**options, "noise": "additive"}, "local_energy")
    with pytest.raises(ValueError, match=r"^measure 'local_energy': of run 1 with .*multiplicative but of run 5 with"):
        correlate.correlate(correlate.networks([*alike, other]))


def test_curvature_on_other_images_does_not_compare():
    def measured(number, split):
        record = run(number, test=5.0 + number)
        record.config.update(split=split, num_examples=2000)
        record.result["hessian_trace"] = float(number)
        return record

    records = [measured(n, "train") for n in range(1, 5)]
    assert correlate.correlate(correlate.networks(records)).loc["hessian_trace", "tau"] == pytest.approx(1)
    with pytest.raises(ValueError, match="split train but of run 5 with num_examples 2000, split test"):
        correlate.correlate(correlate.networks([*records, measured(5, "test")]))


def test_a_landscape_is_of_no_network():
    landscape = run(9)
    landscape.info["source"] = [{"run": "1"}, {"run": "2"}]
    assert [n.run for n in correlate.networks([run(1), landscape])] == ["1"]


def test_the_figure_has_a_panel_a_measure(tmp_path):
    frame = correlate.correlate(SIX)
    figure = scatter(SIX, frame)
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert len(visible) == len(frame)
    assert "τ = " in visible[0].get_xlabel()


def test_from_the_command_line(tmp_path, capsys):
    assert command.main(["correlate", "--from-disk", "--root", str(tmp_path)]) == 1
    assert "no runs are recorded" in capsys.readouterr().err
