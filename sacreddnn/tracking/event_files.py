"""TensorBoard's event files of a run, beside its record: `tensorboard --logdir results/runs`.

Like the database they are a function of the run folder: made from metrics.jsonl, made anew when a run is resumed.
"""

import shutil
import threading
from pathlib import Path

from sacreddnn.tracking.folder import Metrics

FOLDER = "tensorboard"


class EventFiles:
    """Follows the metrics of one run folder.

    Needs the package tensorboard. A step that is logged again, as after a resumption, is written again: TensorBoard
    shows the last.

    Args:
        folder: the run folder; event files of an earlier attempt in it are replaced.
    """

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        self._writer = SummaryWriter(str(folder / FOLDER))
        self._metrics = Metrics(folder)
        self._written: dict[str, int] = {}
        self._lock = threading.Lock()  # a heartbeat may still go on when the run ends

    def refresh(self) -> None:
        """Write the points that came since the last time."""
        with self._lock:
            changed, rewritten = self._metrics.refresh()
            for name in sorted(changed):
                series = self._metrics.series[name]
                start = 0 if name in rewritten else self._written.get(name, 0)
                for i in range(start, len(series.steps)):
                    self._writer.add_scalar(name, series.values[i], series.steps[i])
                self._written[name] = len(series.steps)
            self._writer.flush()

    def close(self) -> None:
        """Write the rest and close."""
        self.refresh()
        self._writer.close()
