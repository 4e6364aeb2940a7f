"""What is written down, and how: plain values, no passwords, bounded text, whole files.

Everything a run records passes through here once, so that the spool is valid JSON and YAML, the database can
encode it, and a password in a URL, a config, a command line or a printed line never reaches the disk.
"""

import math
import operator
import os
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MAX_TEXT = 1_000_000  # characters of captured output that are kept

# begun by a literal and bounded, so that a megabyte of output costs milliseconds
_IN_URL = re.compile(r"(mongodb(?:\+srv)?://[^\s:/@]{0,99}):\S{0,999}@|(://[^\s:/@]{0,99}):[^\s/]{0,999}@")
_SECRET = r"(?:password|passwd|secret|token|api_?key)"
_IN_OPTION = re.compile(_SECRET.join((r"(", r"['\"]?\s*[=:]\s*)[^\s,;&]+")), re.IGNORECASE)
_AWS_TOKEN = re.compile(r"(AWS_SESSION_TOKEN(?:[=:]|%3A))[^\s,;&'\"]+", re.IGNORECASE)  # in an option of a URL
_IN_KEY = re.compile(_SECRET + "$", re.IGNORECASE)
_OF_KEY_FILE = re.compile(r"[?&;]\w*(?:password|passphrase)=", re.IGNORECASE)
_PASSWORDS = tuple(f"SACREDDNN_{of}_PASSWORD{form}" for of in ("MONGO", "DASHBOARD") for form in ("", "_FILE"))


def now() -> str:
    """This moment as ISO 8601 in UTC, in whole milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_atomic(path: Path, text: str) -> None:
    """Replace a file so that a reader, or a crash, finds the old content or the new one, nothing between."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with aside.open("w", encoding="utf-8", errors="replace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:  # a full disk has no room for halves
        aside.unlink(missing_ok=True)
        raise


def mongo_password() -> str | None:
    """The MongoDB password of the environment, None when there is none.

    Read from SACREDDNN_MONGO_PASSWORD, or from the file that SACREDDNN_MONGO_PASSWORD_FILE names.

    Raises:
        ValueError: the file cannot be read.
    """
    if password := os.environ.get("SACREDDNN_MONGO_PASSWORD"):
        return password
    if not (path := os.environ.get("SACREDDNN_MONGO_PASSWORD_FILE")):
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except OSError as error:
        raise ValueError(
            f"SACREDDNN_MONGO_PASSWORD_FILE={path}: cannot be read ({error.strerror}); name a readable file"
        ) from None


def environment_without_secrets() -> dict[str, str]:
    """The environment for a child that needs none of our passwords, and may live longer than we."""
    return {name: value for name, value in os.environ.items() if name not in _PASSWORDS}


def check_no_password(url: str) -> None:
    """Refuse a URL with a password in it: it would be seen in the list of processes and written down.

    >>> check_no_password("mongodb://me@lab.example/runs")

    Raises:
        ValueError: it holds the password of the user, or that of a key file.
    """
    # the second form is for an @ in the user's name; a slash in a password need not be escaped to be seen
    if re.match(r"[^@]*:[^@]*@|[^/?]*:[^/?]*@", url.partition("://")[2] or url):
        raise ValueError(
            "holds a password, which others can see; give it in the environment variable SACREDDNN_MONGO_PASSWORD, "
            "or in the file that SACREDDNN_MONGO_PASSWORD_FILE names (and write any other @ as %40)"
        )
    if found := _OF_KEY_FILE.search(url):
        raise ValueError(
            f"holds a password, {found[0][1:]}.., which others can see; "
            "name a key file without a password, readable by you only"
        )


def redact(text: str, *, options: bool = True) -> str:
    """The text with every password masked as ``***``.

    Masked are ``scheme://user:PASSWORD@``, the session token of AWS in a URL, the MongoDB password of the environment
    and, with `options`, ``password=..`` and its relatives.
    """
    text = _IN_URL.sub(lambda found: f"{found[1] or found[2]}:***@", text)
    text = _AWS_TOKEN.sub(r"\1***", text)
    text = _IN_OPTION.sub(r"\1***", text) if options else text
    try:
        password = mongo_password()
    except ValueError:
        password = None
    if not password:
        return text
    if len(password) < 4:  # it would mask half of the words: only where it can be nothing else
        return text.replace(f":{password}@", ":***@")
    return text.replace(password, "***")


def capped(text: str, limit: int = MAX_TEXT) -> str:
    """The text itself, or its first fifth and its end around a line that says how much was cut."""
    if len(text) <= limit:
        return text
    head = limit // 5
    tail = limit - head
    return f"{text[:head]}\n[... {len(text) - limit} characters cut ...]\n{text[-tail:]}"


def plain(value: Any) -> Any:
    """The value as nested dicts, lists, strings, numbers and None, passwords masked.

    numpy and torch scalars become Python numbers; arrays, tuples and sets lists; dictionary keys
    strings; anything else its ``str``.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        # a lone surrogate, from a file name or captured output, can be written neither as UTF-8 nor as BSON
        return redact(value.encode("utf-8", "replace").decode("utf-8"))
    if isinstance(value, Mapping):
        return {
            plain(str(key)): "***" if isinstance(item, str) and _IN_KEY.search(str(key)) else plain(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if callable(tolist := getattr(value, "tolist", None)):  # numpy and torch, of any shape
        return plain(tolist())
    return plain(str(value))


def finite(value: Any) -> Any:
    """The plain value with NaN and infinities as None, which is all that JSON has for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list) else value


def flat(value: dict[str, Any], separator: str = "/", prefix: str = "") -> dict[str, Any]:
    """The nested dict as one level: ``{"test": {"error": 9}}`` becomes ``{"test/error": 9}``."""
    result: dict[str, Any] = {}
    _flatten(value, separator, f"{prefix}{separator}" if prefix else "", result)
    return result


def _flatten(value: dict[str, Any], separator: str, start: str, result: dict[str, Any]) -> None:
    for key, item in value.items():
        if isinstance(item, dict):
            _flatten(item, separator, f"{start}{key}{separator}", result)
        else:
            result[f"{start}{key}"] = item


def integer(name: str, what: str, value: Any) -> int:
    """The value as a Python int; ValueError naming the metric when it is none, or none of 64 bits."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"metric {name!r}: {what} {value!r} is {type(value).__name__}, must be int") from None
    if abs(number) >= 2**63:
        raise ValueError(f"metric {name!r}: {what} {number} is too large, must be below 2^63")
    return number


def scalar(name: str, value: Any) -> float:
    """The value of a metric as a Python float.

    Args:
        name: of the metric, for the error.
        value: a number, or a numpy or torch scalar or array of one element.

    Raises:
        ValueError: the value is not one real number.
    """
    try:
        if not isinstance(value, (bool, int, float)):
            value = getattr(value, "detach", lambda: value)().item()
        return float(value)
    except (AttributeError, TypeError, ValueError, RuntimeError, OverflowError):
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else f" {str(value)[:40]!r}"
        raise ValueError(
            f"metric {name!r}: {type(value).__name__}{shape} is not one real number; "
            "log a scalar, and an array as an artifact"
        ) from None
