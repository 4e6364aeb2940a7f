import os
import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, torch
from sacreddnn.training.allocator import keep_freed_memory
torch.set_num_threads(1)
print(keep_freed_memory() if {keep} else None)
def work():
    return [torch.ones(9_000_000 + i) for i in range(4)]  # 36 MB each: above 32 MB the usual settings always map
for _ in range(6): work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5): work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(keep, **environment):
    done = subprocess.run(
        [sys.executable, "-c", COUNT.format(keep=keep)], capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc has these settings")
def test_memory_that_was_freed_is_used_again_without_page_faults():
    _, usual = run(False)
    kept, faults = run(True)
    assert kept == "True"
    assert faults < usual / 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc has these settings")
def test_what_the_user_has_set_stands():
    assert run(True, MALLOC_TRIM_THRESHOLD_="100000")[0] == "False"
