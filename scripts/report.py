#!/usr/bin/env python
"""Recorded runs listed, compared, brought into the database: `python scripts/report.py compare --tag demo`."""

import sys

from sacreddnn.report.command import main

if __name__ == "__main__":
    sys.exit(main())
