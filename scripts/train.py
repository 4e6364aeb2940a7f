#!/usr/bin/env python
"""Train, measure and record one run: `python scripts/train.py with fashion_mnist lenet rsgd training.epochs=10`."""

import sys

from sacreddnn.experiment import main
from sacreddnn.report.run_figures import draw_run

if __name__ == "__main__":
    sys.exit(main(draw=draw_run))
