"""Subcommands of `scripts/report.py`, a file with TEXT, add_arguments and run each. To add one, add its line here."""

from types import ModuleType

from sacreddnn.report.commands import curves, diff, page, paper, profiles, table

COMMANDS: dict[str, ModuleType] = {
    "table": table,
    "curves": curves,
    "profiles": profiles,
    "diff": diff,
    "page": page,
    "paper": paper,
}
