#!/usr/bin/env python
"""Many runs from one file: `python scripts/sweep.py configs/sweeps/toy.yaml [--dry-run | --status]`."""

import sys

from sacreddnn.sweeps.command import main

if __name__ == "__main__":
    sys.exit(main())
