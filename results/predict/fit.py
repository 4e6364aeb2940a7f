"""How much of the test errors of this study is the fit: Kendall's tau between train and test error, from runs.csv."""

from pathlib import Path

import pandas as pd

from sacreddnn.report.correlate import Network, correlate, to_text

HERE = Path(__file__).parent
runs = pd.read_csv(HERE / "runs.csv")
trained = runs[runs["config.run"].isna()]
columns = ("run_id", "config.algorithm.name", "test/center/error", "train/center/error")
networks = [
    Network(str(run), algorithm, {"test/center/error": test, "train_error": train})
    for run, algorithm, test, train in zip(*(trained[name] for name in columns), strict=True)
]
frame = correlate(networks)
(HERE / "fit.txt").write_text(to_text(frame, "test_error", trained["config.algorithm.name"].nunique()) + "\n")
