"""An experiment of Sacred as a process of its own: python sacred_script.py ROOT MODE [resume]."""

import os
import signal
import sys
import time

from sacred import SETTINGS, Experiment

from sacreddnn.tracking.recorder import Recorder


def run(root, mode, resume=None):
    SETTINGS.DEFAULT_BEAT_INTERVAL = 0.2
    experiment = Experiment("sacreddnn", save_git_info=False)
    experiment.add_config({"seed": 3, "algorithm": {"name": "sgd", "replicas": 2}})
    recorder = Recorder(root, resume=resume, beat_seconds=0.1)
    experiment.observers.append(recorder)

    @experiment.main
    def main(_run):
        print("first words")
        recorder.log("test/center/error", 9.0, 1, 10)
        _run.log_scalar("train.loss", 0.5, 1)
        time.sleep(0.5)
        recorder.log("test/center/error", 8.0, 2, 20)
        print("last words")
        os.system("echo from a child")
        if mode == "fail":
            raise RuntimeError("boom")
        if mode == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        if mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"test": {"error": 8.0}}

    experiment.run()


if __name__ == "__main__":
    run(*sys.argv[1:])
