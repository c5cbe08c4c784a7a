"""Memory that calls take from the system, and leave for the next ones."""

import platform

import pytest
from helpers import run_python


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="asks glibc to give all large memory back at once"
)
def test_a_call_takes_no_new_memory_for_its_workspace():
    """Pages that the system has to map anew would take longer than many a call."""
    faults = run_python(
        """
        import resource
        import numpy as np
        import fastconv

        fastconv.set_num_threads(1)
        x = np.ones((2, 14, 14, 512), np.float32)
        w = np.ones((3, 3, 16, 512), np.float32)
        y = fastconv.conv2d(x, w, padding=1, groups=32, algorithm="direct")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(50):
            fastconv.conv2d(x, w, padding=1, groups=32, algorithm="direct", out=y)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        """,
        MALLOC_MMAP_THRESHOLD_="65536",
    )
    assert int(faults) < 50  # the workspace alone is more than 100 pages a call
