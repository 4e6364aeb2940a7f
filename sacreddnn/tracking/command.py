"""The command line of `scripts/dashboard.py`: the embedded database started, looked at, stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sacreddnn.tracking import server


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; exit status 0 done, 1 not possible, 2 not understood."""
    parser = argparse.ArgumentParser(prog="dashboard.py", description=__doc__)
    parser.add_argument("command", choices=["start", "status", "stop"])
    parser.add_argument("--folder", default="results/database", help="of the embedded database (%(default)s)")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "start":
            server.start(arguments.folder)
        if arguments.command == "stop":
            print("stopped" if server.stop(arguments.folder) else f"no database runs in {arguments.folder}")
            return 0
        status = server.status(arguments.folder)
    except OSError as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 1
    state = f"running at {status['uri']} (process {status['pid']})" if status["running"] else "not running"
    print(f"{arguments.folder}: {state}, {status['bytes'] / 2**20:.1f} MiB")
    return 0
