#!/usr/bin/env python
"""Train shallow networks and measure their flatness: `python scripts/shallow.py with figure1_preview`."""

import sys

from sacreddnn.report.shallow_figures import draw_shallow
from sacreddnn.shallow_command import main

if __name__ == "__main__":
    sys.exit(main(draw=draw_shallow))
