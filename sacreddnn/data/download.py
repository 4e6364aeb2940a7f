"""Files from the network: resumed, verified, put in place only when they are whole."""

from __future__ import annotations

import hashlib
import http.client
import logging
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from sacreddnn.data.cache import locked
from sacreddnn.data.dataset import DataError

_BLOCK = 1 << 20
_log = logging.getLogger(__name__)


def fetch(urls: Sequence[str], target: Path, *, md5: str = "", sha256: str = "", timeout: float = 20) -> Path:
    """Returns `target` once it is there and verified, fetched from the first address that delivers it.

    What arrives is kept in a file beside the target; when the connection breaks, the next attempt asks for
    the rest of it (HTTP Range). Of several processes one fetches, the others wait.

    Args:
        urls: addresses of the same file, tried in turn.
        target: where the file goes; its folder is made.
        md5: expected digest, in hexadecimal; "" for none.
        sha256: likewise.
        timeout: seconds without an answer before the next address is tried.

    Raises:
        DataError: no address delivered the file, or its digest is wrong; the message says where to put it by
            hand.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(target.name + ".lock")):
            if not target.is_file():
                _fetch_locked(urls, target, md5, sha256, timeout)
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{target}: cannot be written ({error.strerror or error}); choose another data folder"
        ) from error
    return target


def _fetch_locked(urls: Sequence[str], target: Path, md5: str, sha256: str, timeout: float) -> None:
    partial = target.with_name(target.name + ".part")
    reasons = []
    for url in urls:
        try:
            _log.info("fetching %s", url)
            _receive(url, partial, timeout)
            verify(partial, md5=md5, sha256=sha256)
            partial.replace(target)
            return
        except DataError as error:  # what came is not the file: the next address starts afresh
            partial.unlink(missing_ok=True)
            reasons.append(str(error))
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reasons.append(str(getattr(error, "reason", None) or error or type(error).__name__))
    raise DataError(
        f"{target.name}: not on this machine and not fetched ({'; '.join(reasons) or 'no address'}); "
        f"get {urls[0] if urls else 'it'} elsewhere and put it at {target}"
    )


def _receive(url: str, partial: Path, timeout: float) -> None:
    """Writes the file at an address, or what is missing of it, to `partial`."""
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing is missing, or the partial file is of something else: verify decides
            return
        raise
    with response:
        resumed = response.status == 206
        expected = response.headers.get("Content-Length")
        received = 0
        with partial.open("ab" if resumed else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                received += len(block)
        if expected is not None and received < int(expected):
            raise http.client.IncompleteRead(b"", int(expected) - received)


def verify(path: Path, *, md5: str = "", sha256: str = "") -> None:
    """Checks the digests of a file.

    Raises:
        DataError: a digest is another than expected.
    """
    for name, expected in (("md5", md5), ("sha256", sha256)):
        if not expected:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda name=name: hashlib.new(name, usedforsecurity=False)).hexdigest()  # type: ignore[misc]
        if found != expected.lower():
            raise DataError(
                f"{path.name}: wrong checksum ({name} {found}, expected {expected}): damaged or another file"
            )
