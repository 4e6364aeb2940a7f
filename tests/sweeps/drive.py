"""`scripts/sweep.py` with another training: `drive.py TRAIN.py FILE.yaml [options] [--patient SECONDS]` (busy runs)."""

import sys
from pathlib import Path

from sacreddnn.sweeps import command, launch

if __name__ == "__main__":
    command.TRAIN, words = Path(sys.argv[1]), sys.argv[2:]
    if "--patient" in words:
        launch.BUSY_SECONDS = float(words.pop(words.index("--patient") + 1))
        words.remove("--patient")
    sys.exit(command.main(words))
