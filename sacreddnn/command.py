"""A recorded command: Sacred's command line in, a recorded run out. Training is one, and so is every measurement.

    YAML and command line -> Sacred -> the command's schema -> Recorder -> execute -> Recorder

Exit status: 0 completed and recorded; 1 failed, or the end could not be recorded; 2 a config or command line that
cannot be run; 75 completed, but not all of it has reached the database (`scripts/report.py replay` brings it there);
128 + signal: interrupted.
"""

from __future__ import annotations

import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sacreddnn import command_line
from sacreddnn.command_line import CONFIGS
from sacreddnn.run_config import RunConfig, check_config, config_hash, differences, flatten, replay_command
from sacreddnn.schema import ConfigError
from sacreddnn.tracking import database
from sacreddnn.tracking.folder import read_run
from sacreddnn.tracking.light_sacred import sacred
from sacreddnn.tracking.recorder import Recorder
from sacreddnn.yaml_file import read_yaml

Result = dict[str, Any]  # plain numbers and strings by name
Draw = Callable[[Path], list[Path]]
COMPLETED, FAILED, BAD_CONFIG, NOT_IN_DATABASE = 0, 1, 2, 75


class RunInterrupted(sacred.utils.SacredInterrupt):
    """Tells Sacred that a run was stopped on request."""

    STATUS = "INTERRUPTED"

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


@dataclass(frozen=True)
class Command:
    """What is particular to one command.

    Attributes:
        name: of the Sacred experiment; it stands in the record.
        schema: of the config.
        folders: below configs/ whose YAML files are its named configs.
        execute: (config, recorder) -> result. Metrics, `info` and artifacts go to the recorder, files into its folder.
            On SIGTERM and Ctrl-C it raises `training.interrupt.Interrupted` when it has saved what it needs.
        summary: (config, result) -> the last line of a completed run.
        preflight: refuses before anything is read what the schema cannot know, with a ConfigError.
        defaults: of the config as shown and recorded; by default those of the schema.
        draw: makes figures of a finished run's folder; their files are added to its record.
    """

    name: str
    schema: type[RunConfig]
    folders: tuple[str, ...]
    execute: Callable[[Any, Recorder], Result]
    summary: Callable[[Any, Result], str]
    preflight: Callable[[Any], None] = lambda config: None
    defaults: dict[str, Any] = field(default_factory=dict)
    draw: Draw | None = None

    def check(self, values: dict[str, Any]) -> Any:
        """The typed config of a nested dict; ConfigError with a line per fault."""
        return check_config(self.schema, values)


def run(command: Command, argv: list[str] | None = None) -> int:
    """Run the command line, `argv` as sys.argv; returns the exit status (see the top of this file)."""
    argv = list(sys.argv if argv is None else argv)
    recorder = Recorder(configure=partial(_use_tracking_config, command))
    debugging = bool({"-d", "--debug"} & set(argv))
    try:
        if (folder := command_line.run_to_resume(argv, RunConfig().tracking.root)) is not None:
            if read_run(folder).get("status") == "COMPLETED":
                print(f"run {folder.name} is complete, there is nothing to resume: {folder}")
                return COMPLETED
            recorder.resume = folder
            after = argv.index("with") + 1
            argv[after:after] = [str(folder / "config.yaml")]
        argv = [command_line.quoted(word) for word in argv]
        experiment = make_experiment(command, recorder)
        command_line.check_names(argv, experiment, command_line.named_configs(command.folders))
        # with --debug Sacred lets exceptions through, so that this function decides what to say of them
        finished = experiment.run_commandline(argv if debugging else [*argv, "--debug"])
    except ConfigError as error:
        return _say(str(error), BAD_CONFIG)
    except sacred.utils.SacredInterrupt as stopped:
        signum = getattr(stopped, "signum", signal.SIGINT)
        return _say(f"{stopped}; go on with: {argv[0]} with resume={_name(recorder)}", 128 + signum)
    except KeyboardInterrupt:
        return _say("interrupted at once, without saving", 128 + signal.SIGINT)
    except (sacred.utils.SacredError, OSError, ValueError, ArithmeticError) as error:
        # what our own code raises for people is one line; the whole trace is in the record of the run
        if debugging:
            traceback.print_exc()
        lost = isinstance(error, ConnectionError) and recorder.run_id is not None  # another process of the run
        hint = f"; go on with: {argv[0]} with resume={_name(recorder)}" if lost else ""
        return _say(f"{type(error).__name__}: {error}{hint}", FAILED)
    except Exception:
        traceback.print_exc()
        return FAILED
    return _report_end(command, finished, recorder)


def make_experiment(command: Command, recorder: Recorder) -> sacred.Experiment:
    """A Sacred experiment whose config is checked before a run of it exists, observed by the recorder."""
    command_line.configure_sacred()
    experiment = sacred.Experiment(command.name, base_dir=str(CONFIGS.parent), save_git_info=False)
    experiment.add_config(command.defaults or command.schema().model_dump())
    for name, path in command_line.named_configs(command.folders).items():
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
        typed = command.check(config)
        command.preflight(typed)
        if typed.tracking.tensorboard and find_spec("tensorboard") is None:
            raise ConfigError("tracking.tensorboard: true needs the package tensorboard: pip install tensorboard")
        _check_resumed(command, typed, recorder)
        return typed.model_dump()

    @experiment.main
    def main(_config: dict[str, Any]) -> Result:
        from sacreddnn.training.interrupt import Interrupted  # imports torch, so only once the config is right

        try:
            result = command.execute(command.check(_plain(_config)), recorder)
        except Interrupted as stopped:
            raise RunInterrupted(stopped.signum) from None
        recorder.result(result)
        recorder.describe(info=recorder.info)
        try:
            for figure in command.draw(recorder.folder) if command.draw else ():
                recorder.artifact(figure)
        except Exception as error:  # a run that is computed does not fail for want of a picture
            print(f"no figures: {type(error).__name__}: {error}", file=sys.stderr)
        return result

    return experiment


def _use_tracking_config(command: Command, recorder: Recorder, values: dict[str, Any]) -> None:
    """Where this run is recorded, as its config says, and the config itself as it was checked, with whole paths."""
    checked = command.check(values)
    recorder.config, tracking = checked.model_dump(), checked.tracking
    recorder.root = Path(tracking.root)
    recorder.tensorboard = tracking.tensorboard
    recorder.config_hash = lambda config: config_hash(command.check(config))
    if tracking.database:
        recorder.connect = partial(database.connect, tracking.mongo_url, folder=tracking.folder)


def _check_resumed(command: Command, config: RunConfig, recorder: Recorder) -> None:
    """Refuse to go on under another config than the run began with."""
    if config.resume is None:
        return
    if recorder.resume is None:
        raise ConfigError(f"resume: {config.resume!r} must stand on the command line: with resume={config.resume}")
    folder = Path(str(recorder.resume))
    begun = command.check(read_yaml(folder / "config.yaml"))
    changed = differences(begun, config)
    if changed:
        key = "algorithm.name" if "algorithm.name" in changed else changed[0]
        old, new = flatten(begun.model_dump()).get(key), flatten(config.model_dump()).get(key)
        free = ", ".join(name for name in config.free_on_resume if name != "resume")
        raise ConfigError(
            f"{key}: {new!r} differs from {old!r}, with which run {folder.name} was started; leave it out "
            f"(only {free} may change)"
        )


def _name(recorder: Recorder) -> str:
    """What `resume` takes for this run: its number below the default root, where alone that says which one."""
    if recorder.root == Path(RunConfig().tracking.root):
        return str(recorder.run_id)
    return shlex.quote(str(recorder.folder.absolute()))


def _plain(value: Any) -> Any:
    """Sacred's containers as dicts and lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _report_end(command: Command, finished: Any, recorder: Recorder) -> int:
    """The last lines of a run: the numbers, where they are, and what the database still lacks."""
    if finished is None or finished.status != "COMPLETED" or recorder not in finished.observers:
        return COMPLETED  # print_config and its kind
    if recorder.pending is None:  # as on a full disk; the recorder has said what was in the way
        hint = f"once that is mended, go on with resume={_name(recorder)}"
        return _say(f"run {recorder.run_id}: the end of the run is not recorded; {hint}", FAILED)
    config = command.check(_plain(finished.config))
    line = command.summary(config, finished.result)
    print(f"run {recorder.run_id}: {line}  ({recorder.folder})")
    if recorder.pending and recorder.connect:
        replay = replay_command(config.tracking)
        return _say(f"not all of it is in the database yet; later: {replay}", NOT_IN_DATABASE)
    return COMPLETED


def _say(line: str, status: int) -> int:
    print(line, file=sys.stderr)
    return status
