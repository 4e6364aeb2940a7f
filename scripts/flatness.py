#!/usr/bin/env python
"""Measure how flat a network is: `python scripts/flatness.py with run=7 'measures=[local_energy, hessian]'`."""

import sys

from sacreddnn.flatness_command import main
from sacreddnn.report.flatness_figures import draw_flatness

if __name__ == "__main__":
    sys.exit(main(draw=draw_flatness))
