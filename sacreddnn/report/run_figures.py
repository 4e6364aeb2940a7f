"""The figures of a single run, drawn into its own folder at its end."""

from __future__ import annotations

from pathlib import Path


def draw_run(folder: Path) -> list[Path]:
    """Learning curve and local-energy profile of the run in `folder`, as PNGs in its figures/; their paths.

    What was not recorded is not drawn.
    """
    from sacreddnn.report import figures  # matplotlib: not before there is something to draw
    from sacreddnn.tracking import runs

    record = runs.read_folder(folder)
    made: list[Path] = []
    if "test/center/error" in record.series:
        made += figures.save(figures.learning_curves([record]), folder / "figures" / "learning_curve")
    if record.info.get("local_energy"):
        made += figures.save(figures.local_energy_profiles([record]), folder / "figures" / "local_energy_profile")
    return [path for path in made if path.suffix == ".png"]
