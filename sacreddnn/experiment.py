"""The front door: Sacred's command line in, a recorded run out.

    YAML and command line -> Sacred -> config.check -> Recorder -> run.execute -> Recorder

Exit status: 0 completed and recorded; 1 failed; 2 a config or command line that cannot be run; 75 completed, but not
all of it has reached the database (`scripts/report.py replay` brings it there); 128 + signal: interrupted.
"""

from __future__ import annotations

import difflib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sacred
import yaml
from sacred.config import config_files
from sacred.utils import SacredError, SacredInterrupt

from sacreddnn.config import Config, ConfigError, check, config_hash, differences, flatten
from sacreddnn.tracking import database
from sacreddnn.tracking.folder import find, read_run
from sacreddnn.tracking.recorder import Recorder
from sacreddnn.yaml_file import parse_yaml, read_yaml

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
Draw = Callable[[Path], list[Path]]
COMPLETED, FAILED, BAD_CONFIG, NOT_IN_DATABASE = 0, 1, 2, 75


class RunInterrupted(SacredInterrupt):
    """Tells Sacred that a run was stopped on request."""

    STATUS = "INTERRUPTED"

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def named_configs() -> dict[str, Path]:
    """Every YAML file below configs/ by its name without ending; those of sweeps are not configs of one run.

    Raises:
        ConfigError: two files of one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(CONFIGS.rglob("*.yaml")):
        if path.is_relative_to(CONFIGS / "sweeps"):
            continue
        if path.stem in found:
            raise ConfigError(f"{path}: has the same name as {found[path.stem]}; rename one of them")
        found[path.stem] = path
    return found


def make_experiment(recorder: Recorder, draw: Draw | None = None) -> sacred.Experiment:
    """A Sacred experiment whose config is checked before a run of it exists, observed by the recorder."""
    _configure_sacred()
    experiment = sacred.Experiment("sacreddnn", base_dir=str(CONFIGS.parent), save_git_info=False)
    # Of the default algorithm only the name: its other keys are not keys of other algorithms. The hook fills them in.
    experiment.add_config(Config().model_dump() | {"algorithm": {"name": "sgd"}})
    for name, path in named_configs().items():
        experiment.add_named_config(name, str(path))
    experiment.observers.append(recorder)
    mongo_url: list[str] = []

    @experiment.option_hook
    def take_options(options: dict[str, Any]) -> None:
        if options.get("--unobserved"):
            raise ConfigError("-u: every run is recorded on disk; `with on_disk` leaves the database out")
        options["--force"] = True  # no warnings of Sacred about types and new keys: the schema refuses the wrong ones
        if url := options.pop("--mongo_db", None):  # -m: through our own recorder, as tracking.mongo_url
            mongo_url.append(url)

    @experiment.config_hook
    def check_config(config: dict[str, Any], command_name: str, logger: Any) -> dict[str, Any]:
        if mongo_url:
            config["tracking"]["mongo_url"] = mongo_url[0]
        typed = check(config)
        from sacreddnn.build import preflight  # imports torch, so only once the schema is satisfied

        preflight(typed)
        _check_resumed(typed, recorder)
        return typed.model_dump()

    @experiment.main
    def train(_config: dict[str, Any]) -> dict[str, float | int | str]:
        from sacreddnn.processes import announce
        from sacreddnn.run import execute
        from sacreddnn.training.interrupt import Interrupted

        config = check(_plain(_config))
        announce(config)
        try:
            result = execute(config, recorder, recorder.folder)
        except Interrupted as stopped:
            raise RunInterrupted(stopped.signum) from None
        recorder.result(result)
        recorder.describe(info=recorder.info)
        try:
            for figure in draw(recorder.folder) if draw else ():
                recorder.artifact(figure)
        except Exception as error:  # a run that is trained and measured does not fail for want of a picture
            print(f"no figures: {type(error).__name__}: {error}", file=sys.stderr)
        return result

    return experiment


def main(argv: list[str] | None = None, draw: Draw | None = None) -> int:
    """Run the command line; returns the exit status (see the top of this file), or ends a process of torchrun's.

    Args:
        argv: as sys.argv.
        draw: makes figures of a finished run's folder; their files are added to its record.
    """
    argv = list(sys.argv if argv is None else argv)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from sacreddnn import processes

        processes.run(lambda: _run(argv, draw))
    return _run(argv, draw)


def _run(argv: list[str], draw: Draw | None) -> int:
    recorder = Recorder(configure=_use_tracking_config)
    try:
        if (folder := _run_to_resume(argv)) is not None:
            if read_run(folder).get("status") == "COMPLETED":
                print(f"run {folder.name} is complete, there is nothing to resume: {folder}")
                return COMPLETED
            recorder.resume = folder
            after = argv.index("with") + 1
            argv[after:after] = [str(folder / "config.yaml")]
        argv = [_quoted(word) for word in argv]
        experiment = make_experiment(recorder, draw)
        _check_names(argv, experiment)
        debugging = bool({"-d", "--debug"} & set(argv))
        # with --debug Sacred lets exceptions through, so that this function decides what to say of them
        run = experiment.run_commandline(argv if debugging else [*argv, "--debug"])
    except ConfigError as error:
        return _say(str(error), BAD_CONFIG)
    except SacredInterrupt as stopped:
        signum = getattr(stopped, "signum", signal.SIGINT)
        return _say(f"{stopped}; go on with: {argv[0]} with resume={recorder.run_id}", 128 + signum)
    except KeyboardInterrupt:
        return _say("interrupted at once, without saving", 128 + signal.SIGINT)
    except (SacredError, OSError, ValueError, ArithmeticError) as error:
        # what our own code raises for people is one line; the whole trace is in the record of the run
        if bool({"-d", "--debug"} & set(argv)):
            traceback.print_exc()
        lost = isinstance(error, ConnectionError) and recorder.run_id is not None  # another process of the run
        hint = f"; go on with: {argv[0]} with resume={recorder.run_id}" if lost else ""
        return _say(f"{type(error).__name__}: {error}{hint}", FAILED)
    except Exception:
        traceback.print_exc()
        return FAILED
    return _report_end(run, recorder)


def _configure_sacred() -> None:
    """Sacred's settings: what the recorder does better is off; config files are read as plain, safe YAML only."""
    sacred.SETTINGS.CAPTURE_MODE = "sys"
    sacred.SETTINGS.DISCOVER_SOURCES = "none"  # the recorder keeps commit and diff
    sacred.SETTINGS.DISCOVER_DEPENDENCIES = "none"  # and the versions
    sacred.SETTINGS.CONFIG.READ_ONLY_CONFIG = False
    reader = config_files.Handler(
        lambda file: read_yaml(file.name), lambda values, file: yaml.safe_dump(values, file), ""
    )
    config_files.HANDLER_BY_EXT.clear()  # with .pickle and .json (jsonpickle), which run code
    config_files.HANDLER_BY_EXT.update({".yaml": reader, ".yml": reader})


def _use_tracking_config(recorder: Recorder, values: dict[str, Any]) -> None:
    """Where this run is recorded, as its config says."""
    tracking = check(values).tracking
    recorder.root = Path(tracking.root)
    recorder.config_hash = lambda config: config_hash(check(config))
    if tracking.database:
        recorder.connect = partial(database.connect, tracking.mongo_url, folder=tracking.folder)


def _run_to_resume(argv: list[str]) -> Path | None:
    """The folder of the run that `resume=..` on the command line names."""
    values = dict(word.split("=", 1) for word in argv if "=" in word and not word.startswith("-"))
    if values.get("resume", "None") == "None":
        return None
    if "with" not in argv:
        raise ConfigError(f"resume: must stand after with: {argv[0]} with resume={values['resume']}")
    try:
        return find(values["resume"], values.get("tracking.root", Config().tracking.root))
    except (OSError, ValueError) as error:
        raise ConfigError(f"resume: {error}") from None


def _check_resumed(config: Config, recorder: Recorder) -> None:
    """Refuse to go on under another config than the run began with."""
    if config.resume is None:
        return
    if recorder.resume is None:
        raise ConfigError(f"resume: {config.resume!r} must stand on the command line: with resume={config.resume}")
    folder = Path(str(recorder.resume))
    begun = check(read_yaml(folder / "config.yaml"))
    changed = differences(begun, config)
    if changed:
        key = "algorithm.name" if "algorithm.name" in changed else changed[0]
        old, new = flatten(begun.model_dump()).get(key), flatten(config.model_dump()).get(key)
        raise ConfigError(
            f"{key}: {new!r} differs from {old!r}, with which run {folder.name} was started; leave it out "
            "(only tracking, checkpoint, training.device and training.num_threads may change)"
        )


def _quoted(word: str) -> str:
    """The word, a value in it written as in YAML (`[crop, flip]`, `true`) rewritten for Sacred, which reads Python."""
    key, equals, value = word.partition("=")
    if equals and (value[:1] in ("[", "{") or value in ("true", "false", "null")):
        try:
            return f"{key}={parse_yaml(value)!r}"
        except ConfigError as error:
            raise ConfigError(f"{key}: {error}") from None
    return word


def _check_names(argv: list[str], experiment: sacred.Experiment) -> None:
    """Refuse names after `with` that are no config, which Sacred answers in several ways or with a traceback."""
    if "with" not in argv:
        return
    takes_value = {flag for option in experiment.all_cli_options if option.arg for flag in option.get_flags()}
    words = argv[argv.index("with") + 1 :]
    for before, word in zip(["with", *words], words, strict=False):
        if "=" in word or word.startswith("-") or before in takes_value or Path(word).is_file():
            continue
        known = {path.stem: path for path in named_configs().values()}
        if word in known:
            continue
        if word.endswith((".yaml", ".yml")) or os.sep in word:
            known = {str(path.relative_to(CONFIGS.parent)): path for path in known.values()}
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
        hint = f", did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"with {word}: no such config{hint} (each YAML file below configs/ is one; key=value sets a key)"
        )


def _plain(value: Any) -> Any:
    """Sacred's containers as dicts and lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _report_end(run: Any, recorder: Recorder) -> int:
    """The last lines of a run: the numbers, where they are, and what the database still lacks."""
    if run is None or recorder.pending is None:  # print_config and its kind
        return COMPLETED
    result = run.result
    energy = ""
    if "local_energy" in result:
        sigma = run.config["evaluation"]["flatness"]["headline"]
        energy = f", local energy({sigma:g}) {result['local_energy']:.2f} ± {result['local_energy_se']:.2f}"
    print(
        f"run {recorder.run_id}: test error {result['test/center/error']:.2f} %, train error "
        f"{result['train/center/error']:.2f} %{energy}, {result['gradient_evaluations']} gradient evaluations, "
        f"{result['train_seconds']:.0f} s  ({recorder.folder})"
    )
    if recorder.pending and recorder.connect:
        return _say("not all of it is in the database yet; later: python scripts/report.py replay", NOT_IN_DATABASE)
    return COMPLETED


def _say(line: str, status: int) -> int:
    print(line, file=sys.stderr)
    return status
