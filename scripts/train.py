#!/usr/bin/env python
"""Train, measure and record one run: `python scripts/train.py with fashion_mnist lenet rsgd training.epochs=10`."""

import sys

from sacreddnn.experiment import main

if __name__ == "__main__":
    sys.exit(main())
