#!/usr/bin/env python
"""The embedded database: `python scripts/dashboard.py start|status|stop`."""

import sys

from sacreddnn.tracking.command import main

if __name__ == "__main__":
    sys.exit(main())
