"""Members of zip and tar archives, read in memory: nothing is ever extracted to the disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from sacreddnn.data.dataset import DataError


def read_members(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Returns the content of the wanted files of an archive, by their names in it.

    Reading a member also checks it: zip keeps a checksum for each, gzip one for the whole.

    Args:
        path: a .zip, .tar, .tar.gz or .tgz file; it must fit in memory.
        wanted: called with each member's name.

    Raises:
        DataError: not an archive, damaged, truncated, or with a member whose path leads out of the archive.
    """
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
                _refuse_escapes(path, names)
                return {name: archive.read(name) for name in names if wanted(name)}
        # tarfile stops at the end of the archive, before gzip's checksum: decompress all of it first
        content = gzip.decompress(path.read_bytes()) if path.suffix in (".gz", ".tgz") else path.read_bytes()
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            members = tar.getmembers()
            _refuse_escapes(path, [m.name for m in members] + [m.linkname for m in members if m.issym() or m.islnk()])
            return {m.name: tar.extractfile(m).read() for m in members if m.isfile() and wanted(m.name)}  # type: ignore[union-attr]
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{path}: damaged or truncated archive ({error}); delete it and get it again") from error
    except OSError as error:
        if isinstance(error, DataError):
            raise
        reason = error.strerror or str(error)
        raise DataError(f"{path}: cannot be read as an archive ({reason}); delete it and get it again") from error


def _refuse_escapes(path: Path, names: list[str]) -> None:
    for name in names:
        member = PurePosixPath(name.replace("\\", "/"))  # without parts where it is ".", the top folder itself
        if member.is_absolute() or ".." in member.parts or ":" in "".join(member.parts[:1]):
            raise DataError(f"{path}: member {name!r} leads out of the archive; do not use this file, get it elsewhere")
