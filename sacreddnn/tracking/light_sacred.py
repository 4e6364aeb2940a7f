"""Sacred without pandas, which it imports at every start and needs only to serialise data frames.

Import Sacred from here: `from sacreddnn.tracking.light_sacred import sacred`. Whoever uses pandas later imports it as
always.
"""

import sys

if "pandas" in sys.modules:
    import sacred
else:
    sys.modules["pandas"] = None  # type: ignore[assignment]  # to the import system: not installed
    try:
        import sacred
    finally:
        del sys.modules["pandas"]

__all__ = ["sacred"]
