"""Numbers of the comparison table against arithmetic by hand, and its printed forms to the byte."""

import io
import math

import pandas as pd
import pytest
from report_cases import changed, demo, profile, run, seeded

from sacreddnn.report import style, tables
from sacreddnn.report.groups import group


def three_seeds():
    """Test errors 9, 10, 11: mean 10, standard error 1 / sqrt(3)."""
    return [run(1 + seed, "esgd", seed, test=9.0 + seed, scale=1.0 + seed) for seed in range(3)]


def test_single_runs_show_their_own_numbers():
    frame = tables.comparison(demo())
    assert list(frame["algorithm"]) == ["SGD", "Entropy-SGD", "Replicated-SGD"]
    assert list(frame["test_error"]) == [9.84, 9.41, 9.12]
    assert list(frame["train_error"]) == pytest.approx([5.84, 5.41, 5.12])
    assert frame[["test_error_se", "train_error_se"]].isna().all(axis=None)  # nothing is known of them
    assert list(frame["local_energy_0.3"]) == pytest.approx([12.6, 8.1, 6.3])
    assert list(frame["local_energy_0.3_se"]) == [0.1, 0.1, 0.1]  # of the draws
    assert list(frame["gradient_evaluations"]) == [2808, 2808, 2808]
    assert list(frame["train_seconds"]) == [52.25, 53.25, 54.25]
    assert list(frame["measure_seconds"]) == [12.5] * 3
    assert list(frame["run_ids"]) == ["1", "2", "3"]


def test_seeds_are_averaged_with_the_standard_error_of_the_mean():
    (row,) = tables.comparison(three_seeds()).to_dict("records")
    assert (row["runs"], row["run_ids"], row["seeds"]) == (3, "1-3", "0-2")
    assert row["test_error"] == pytest.approx(10)
    assert row["test_error_se"] == pytest.approx(1 / math.sqrt(3))
    assert row["local_energy_0.5"] == pytest.approx(50)  # 25, 50, 75
    assert row["local_energy_0.5_se"] == pytest.approx(25 / math.sqrt(3))  # of the seeds, not of the draws
    assert row["train_seconds"] == pytest.approx(53.25)


def test_rows_per_run():
    frame = tables.comparison(three_seeds(), average_seeds=False)
    assert list(frame["test_error"]) == [9, 10, 11]
    assert list(frame["seeds"]) == ["0", "1", "2"]
    assert list(frame["local_energy_0.1_se"]) == [0.1] * 3


def test_runs_of_different_configs_are_not_averaged():
    frame = tables.comparison([run(1, coupling=0.5), run(2, seed=1, coupling=2.0), run(3, "esgd")])
    assert list(frame["algorithm"]) == ["SGD, coupling 0.5", "SGD, coupling 2", "Entropy-SGD"]


def test_keys_of_equal_last_part_are_named_in_full():
    one, other = run(1, options={"lr": 1}), run(2, options={"lr": 2})
    other = changed(other, config=other.config | {"training": {"lr": 0.1, "batch_size": 128}})
    assert [g.label for g in group([one, other])] == [
        "SGD, algorithm.options.lr 1, training.lr 0.05",
        "SGD, algorithm.options.lr 2, training.lr 0.1",
    ]


def test_where_the_data_lie_makes_no_other_config():
    there = run(2, seed=1)
    there = changed(there, config=there.config | {"dataset": {"name": "fashion_mnist", "root": "/there"}, "resume": 2})
    assert len(group([run(1), there])) == 1


def test_several_data_sets_are_columns():
    other = run(2)
    other = changed(other, config=other.config | {"dataset": {"name": "cifar10"}})
    frame = tables.comparison([run(1), other])
    assert list(frame["algorithm"]) == ["SGD", "SGD"]
    assert "CIFAR-10" in tables.to_text(frame)


def test_repeated_and_unfinished_runs_are_left_out_and_said_so():
    records = [*three_seeds(), run(7, "esgd", seed=0, test=12.0)]
    records += [
        changed(run(8, "esgd", seed=3), status="FAILED", result={}),
        changed(run(9), status="INTERRUPTED", result={}, info={}),
    ]
    frame = tables.comparison(records[::-1])
    row = frame.set_index("algorithm").loc["Entropy-SGD"]
    assert row["test_error"] == pytest.approx(11)  # 12, 10, 11
    assert (row["runs"], row["run_ids"]) == (3, "2 3 7")
    text = " ".join(tables.to_text(frame).split())
    assert "Run 1 is left out: repeated by run 7 with the same config and seed." in text
    assert "Run 8 is left out: FAILED." in text
    assert "Run 9 did not complete: INTERRUPTED." in text


def test_what_is_missing_stays_missing():
    bare = changed(run(2, "esgd"), result={"test/center/error": math.nan}, info={})
    frame = tables.comparison([run(1), bare])
    assert frame.loc[1, "test_error":"measure_seconds"].isna().all()
    line = next(line for line in tables.to_text(frame).splitlines() if line.startswith("Entropy-SGD"))
    assert line.split() == ["Entropy-SGD", "2", "0", *["-"] * 7]
    assert tables.to_csv(frame).splitlines()[2] == "Entropy-SGD,fashion_mnist,lenet,2,0,1" + "," * 13


def test_a_mean_over_fewer_runs_is_said_so():
    records = three_seeds()
    records[2] = changed(records[2], info={})
    frame = tables.comparison(records)
    assert frame.loc[0, "local_energy_0.5"] == pytest.approx(37.5)
    assert "Entropy-SGD: local energy of 2 of 3 runs only." in frame.attrs["notes"]


def test_no_error_bar_of_draws_where_seeds_are_meant():
    records = [record if record.run_id == 1 else changed(record, info={}) for record in three_seeds()]
    assert tables.comparison(records)["local_energy_0.5_se"].isna().all()


def test_sigma_that_was_not_measured():
    with pytest.raises(ValueError, match=r"sigmas: 0.25 was not measured in run 1, measured: 0, 0.1, 0.2, 0.3"):
        tables.comparison(demo(), sigmas=(0.1, 0.25))
    with pytest.raises(ValueError, match="records: empty"):
        tables.comparison([])


def test_notes_say_whose_error_bars():
    single, seeds = tables.comparison(demo()).attrs["notes"], tables.comparison(seeded()).attrs["notes"]
    assert "standard error over the draws" in single[0]
    assert "over the runs of a row, one per seed (seeds 0-2)" in seeds[0]
    assert "5 draws, 5,000 images, clean view." in single[1]
    assert "over the draws" not in " ".join(seeds)


def test_ways_of_measuring_that_differ_are_told_apart():
    other = changed(run(2, "esgd"), info={"local_energy": profile(split="test", batch_norm="reestimated")})
    notes = tables.comparison([run(1), other]).attrs["notes"]
    assert notes[1].endswith("clean view (runs 1).")
    assert notes[2].endswith("batch-norm statistics reestimated (runs 2).")
    assert "rise of the test error" in notes[2]


def test_batch_norm_is_not_spoken_of_where_the_network_has_none():
    record = changed(run(1), info={"local_energy": profile(batch_norm="running"), "batch_norm": "none"})
    assert "batch-norm" not in " ".join(tables.comparison([record]).attrs["notes"])


EXPECTED = """\
LeNet on Fashion-MNIST
                             error (%)  ──────── local energy (points) ────────  gradient  training
algorithm       run  seed  test  train      σ = 0.1       σ = 0.3       σ = 0.5     evals   seconds
───────────────────────────────────────────────────────────────────────────────────────────────────
SGD               1     0  9.84   5.84  1.40 ± 0.10  12.60 ± 0.10  35.00 ± 0.10     2,808        52
Entropy-SGD       2     0  9.41   5.41  0.90 ± 0.10   8.10 ± 0.10  22.50 ± 0.10     2,808        53
Replicated-SGD    3     0  9.12   5.12  0.70 ± 0.10   6.30 ± 0.10  17.50 ± 0.10     2,808        54
───────────────────────────────────────────────────────────────────────────────────────────────────
"""


def test_text_to_the_byte():
    assert tables.to_text(tables.comparison(demo())).startswith(EXPECTED)


@pytest.mark.parametrize("records", [demo(), seeded(), seeded(2)[::-1]])
def test_text_keeps_to_the_width(records):
    for average_seeds in (True, False):
        text = tables.to_text(tables.comparison(records, average_seeds=average_seeds))
        assert max(map(len, text.splitlines())) <= 100
        assert text.endswith("\n")


def test_long_labels_are_wrapped_not_the_numbers():
    records = [run(i, "rsgd", seed, coupling_schedule="exponential" if i < 2 else "constant", coupling=0.25 * i)
               for i in range(4) for seed in [0]]  # fmt: skip
    text = tables.to_text(tables.comparison(records), width=90)
    assert max(map(len, text.splitlines())) <= 90
    assert "25.00±0.10" in text
    label = " ".join(tables.to_text(tables.comparison(records), width=200).splitlines()[4].split()[:6])
    assert label == "Replicated-SGD, coupling 0, coupling schedule exponential"[: len(label)]


def test_order_of_the_records_does_not_matter():
    records = seeded()
    for form in (tables.to_text, tables.to_markdown, tables.to_csv):
        assert form(tables.comparison(records)) == form(tables.comparison(records[::-1]))


def test_large_error_bars_take_one_decimal_and_small_values_no_minus_zero():
    record = changed(run(1), info={"local_energy": profile(se=1.25, error=[0, -0.001, 1, 9, 16, 25])})
    text = tables.to_text(tables.comparison([record]))
    assert "9.0 ± 1.2" in text
    assert "-0.0" not in text


def test_markdown():
    lines = tables.to_markdown(tables.comparison(demo())).splitlines()
    assert lines[0] == "**LeNet on Fashion-MNIST**"
    assert lines[2].startswith("| algorithm | run | seed | test error (%) | train error (%) | local energy at σ = 0.1")
    assert lines[3].startswith("| --- | ---: |")
    assert lines[4] == ("| SGD | 1 | 0 | 9.84 | 5.84 | 1.40 ± 0.10 | 12.60 ± 0.10 | 35.00 ± 0.10 | 2,808 | 52 |")


def test_csv_holds_everything_in_full_precision():
    frame = tables.comparison(seeded())
    back = pd.read_csv(io.StringIO(tables.to_csv(frame)), dtype={"gradient_evaluations": "Int64"})
    pd.testing.assert_frame_equal(back, frame, check_exact=True, check_dtype=False)
    assert ",2808," in tables.to_csv(frame)


def test_algorithms_of_one_class_are_told_apart():
    kinds = [
        {"name": "weight_noise", "noise_scale": "filter"}, {"name": "weight_noise", "noise_scale": "tensor"},
        {"name": "esgd"}, {"name": "esgd", "optimizer": "adam"},
        {"name": "rsgd", "budget": "shared"}, {"name": "rsgd", "budget": "per_replica", "replicas": 3},
    ]  # fmt: skip
    names = [style.algorithm_name({"algorithm": kind}) for kind in kinds]
    assert names == ["LPF-SGD", "Weight noise", "Entropy-SGD", "Entropy-Adam", "Replicated-SGD", "Replicated-SGD ×3"]
    assert len({style.algorithm_key({"algorithm": kind}) for kind in kinds}) == len(kinds)
