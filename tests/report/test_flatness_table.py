import numpy as np
import pytest
from report_cases import run

from sacreddnn.report import flatness_table
from sacreddnn.report.flatness_figures import flatness


def measured(number, algorithm, **result):
    record = run(number)
    record.info.clear()
    record.info.update(
        source={"run": str(number), "algorithm": {"name": algorithm}},
        margins={"quantiles": {"0.0": -1.0, "0.5": 2.0, "1.0": 5.0}},
        local_energy={"sigmas": [0.0, 0.3], "error": [0.0, 3.0], "error_se": [0.0, 0.2], "noise": "multiplicative",
                      "split": "train"},
        spectral_density={"nodes": [[-1e-3, 0.5, 20.0]], "weights": [[0.5, 0.499, 0.001]], "num_weights": 9},
        local_entropy={"distance": [0.1, 1.0], "loss": [0.2, 0.3], "loss_error": [0.01, 0.01],
                       "distance_error": [0.01, 0.1], "beta": 1e4},
    )  # fmt: skip
    record.result.clear()
    record.result.update({"test/center/error": 8.0, **result})
    return record


def test_cells_have_the_digits_of_their_errors():
    records = [measured(1, "sgd", hessian_trace=123.456, hessian_trace_se=2.34),
               measured(2, "esgd", local_energy=3.14159, local_energy_se=0.0456)]  # fmt: skip
    frame = flatness_table.flatness_table(records)
    assert list(frame.columns) == ["SGD, run 1", "Entropy-SGD, run 2"]
    assert frame.loc["trace of H (nats)", "SGD, run 1"] == "123.5 ± 2.3"
    assert frame.loc["local energy (points)", "Entropy-SGD, run 2"] == "3.142 ± 0.046"
    assert frame.loc["local energy (points)", "SGD, run 1"] == ""
    assert "path norm" not in frame.index
    assert flatness_table.to_markdown(frame).startswith(
        "| measure | SGD, run 1 | Entropy-SGD, run 2 |\n|---|---|---|\n"
    )


def test_networks_measured_with_the_same_draws_are_compared_draw_by_draw():
    """Draws that move both alike leave a small error of the difference."""
    draws = np.array([[0.0, 3.0], [0.0, 8.0], [0.0, 1.0]])
    records = [measured(1, "sgd"), measured(2, "sam"), measured(3, "esgd"), measured(4, "rsgd")]
    for number, record in enumerate(records):
        moved = draws + number * np.array([[0.0, 0.9], [0.0, 1.0], [0.0, 1.1]])
        record.info["local_energy"] |= {"error_draws": moved.tolist(), "seed": 0}
        record.config["local_energy"] = {"headline": 0.3}
    records[1].info["local_energy"]["error_draws"].append([0.0, 99.0])  # of one network alone: of no pair
    records[2].info["local_energy"]["seed"] = 1
    records[3].info["num_weights"] = 7
    row = flatness_table.flatness_table(records).loc[flatness_table.PAIRED]
    assert row["SAM, run 2"] == "1.000 ± 0.058"  # 0.1 / sqrt(3)
    assert row.drop("SAM, run 2").tolist() == ["", "", ""]


@pytest.mark.parametrize(
    ("key", "other"),
    [("seed", 1), ("noise", "additive"), ("subset", "conv"), ("split", "test"), ("num_examples", 100),
     ("batch_norm", "reestimated")],
)  # fmt: skip
def test_what_was_measured_otherwise_is_not_compared_draw_by_draw(key, other):
    records = [measured(1, "sgd"), measured(2, "sam")]
    for record in records:
        record.info["local_energy"] |= {"error_draws": [[0.0, 3.0], [0.0, 4.0 + record.run_id]], "seed": 0,
                                        "subset": "all", "num_examples": 50, "batch_norm": "running"}  # fmt: skip
        record.config["local_energy"] = {"headline": 0.3}
    assert flatness_table.PAIRED in flatness_table.flatness_table(records).index
    records[1].info["local_energy"][key] = other
    assert flatness_table.PAIRED not in flatness_table.flatness_table(records).index


def test_two_measurements_of_one_network_have_a_column_each():
    again = measured(2, "sgd", path_norm=2.0)
    again.info["source"]["run"] = "1"
    frame = flatness_table.flatness_table([measured(1, "sgd", path_norm=1.0), again, measured(3, "sam", path_norm=3.0)])
    assert frame.loc["path norm"].to_dict() == {
        "SGD, run 1, measured in 1": "1", "SGD, run 1, measured in 2": "2", "SAM, run 3": "3"
    }  # fmt: skip


def test_a_training_is_not_a_measured_network():
    with pytest.raises(ValueError, match="run 3: is not of a measured network"):
        flatness_table.flatness_table([run(3)])


def test_the_figure_has_a_panel_for_each_curve_and_a_line_a_network():
    figure = flatness([measured(1, "sgd").info, measured(2, "sam").info])
    assert len([axes for axes in figure.axes if axes.get_visible()]) == 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SGD, run 1", "SAM, run 2"]


def test_the_legend_names_a_network_that_the_first_panel_lacks():
    second = measured(2, "sam")
    del second.info["local_energy"]
    (legend,) = flatness([measured(1, "sgd").info, second.info]).legends
    assert [text.get_text() for text in legend.get_texts()] == ["SGD, run 1", "SAM, run 2"]


def test_networks_of_one_name_are_told_apart_in_the_legend():
    """Runs of two folders can have the same number."""
    networks = [dict(measured(number, "sgd").info) for number in (1, 2, 1)]
    (legend,) = flatness(networks).legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [names[0], names[0].replace("run 1", "run 2"), f"{names[0]} (2)"]
