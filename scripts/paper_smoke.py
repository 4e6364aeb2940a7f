#!/usr/bin/env python
"""Every cell of the paper's tables end to end at toy size: `python scripts/paper_smoke.py`; --rows, --columns: some."""

import sys

from sacreddnn.report.paper.smoke import main

if __name__ == "__main__":
    sys.exit(main())
