"""Where a run's numbers come from: code, machine, packages, command line."""

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacreddnn.tracking.plain import capped, redact

PACKAGES = ("sacreddnn", "torch", "torchvision", "timm", "numpy", "scipy", "pandas", "sacred", "pymongo")
MAX_DIFF = 200_000  # characters


def versions() -> dict[str, str]:
    """The versions of Python and of the main packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def host() -> dict[str, Any]:
    """The machine, in the fields that Sacred and Omniboard use."""
    return {
        "hostname": platform.node(),
        "os": [platform.system(), platform.platform()],
        "cpu": _cpu(),
        "num_cpus": os.cpu_count(),
        "python_version": platform.python_version(),
    }


def command_line(argv: Sequence[str] | None = None) -> list[str]:
    """The words of the command line, by default of this process, passwords masked."""
    return [redact(word) for word in (sys.orig_argv if argv is None else argv)]


def git(folder: str | Path) -> tuple[dict[str, Any], str]:
    """The repository that holds a folder, and its uncommitted changes.

    Args:
        folder: inside the repository.

    Returns:
        ``{"commit", "dirty", "url"}``, empty outside of a repository or without git, the address without its user;
        and the diff against the commit, bounded, passwords masked. What lies under results/ was made by the code and
        does not count.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}, ""
    code = ("--", ":(top)", ":(top,exclude)results")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", *code)
    diff = _git(folder, "diff", "HEAD", *code) if changed else ""
    url = _git(folder, "config", "--get", "remote.origin.url") or ""
    about = {"commit": commit.strip(), "dirty": bool(changed), "url": redact(_without_user(url.strip()))}
    return about, redact(capped(diff or "", MAX_DIFF), options=False)


def _without_user(url: str) -> str:
    """The address of a repository as anybody may see it: the user of an http address may be an access token.

    >>> _without_user("https://ghp_t0ken@github.com/me/code.git"), _without_user("git@github.com:me/code.git")
    ('https://github.com/me/code.git', 'git@github.com:me/code.git')
    """
    return re.sub(r"^(https?://)[^/]*@", r"\1", url, flags=re.IGNORECASE)


def _git(folder: str | Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
