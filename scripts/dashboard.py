#!/usr/bin/env python
"""Recorded runs in a browser: `python scripts/dashboard.py`; start, status, stop: the embedded database alone."""

import sys

from sacreddnn.tracking.dashboard import main

if __name__ == "__main__":
    sys.exit(main())
