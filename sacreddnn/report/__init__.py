"""Recorded runs as tables and figures; nothing here trains or measures."""
