#!/usr/bin/env python
"""Loss and error around, between and through trained networks: `python scripts/landscape.py with 'runs=[7, 8, 9]'`."""

import sys

from sacreddnn.landscape_command import main
from sacreddnn.report.landscape_figures import draw_landscape

if __name__ == "__main__":
    sys.exit(main(draw=draw_landscape))
