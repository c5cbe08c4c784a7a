"""How much memory a call takes at its peak, beyond its operands and its result (Linux only)."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from .catalogue import Layer
from .problem import Problem, Unsupported

WARM_UP = Layer("memory", "warm-up", 1, (8, 8, 4), 4, (3, 3), padding=(1, 1))

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def of_call(peer: Any, problem: Problem, variant: str) -> dict[str, Any]:
    """Measure the first call of this shape, in a process where a small one has run before.

    Must be the process's only request: memory that an earlier call gave back to the allocator
    would be used again unseen.
    """
    warm_up = peer.calls(replace(problem, layer=WARM_UP))[variant]
    warm_up.run()
    call = peer.calls(problem)[variant]
    _reset_peak()
    before = _resident("VmRSS")
    result = call.run()
    peak = _resident("VmHWM") - before
    return {"extra": peak - call.to_array(result).nbytes, "arrays": problem.bytes_moved}


def _reset_peak() -> None:
    """Let the peak be the present size, where the system can do that."""
    try:
        CLEAR.write_text("5")
    except OSError as error:
        raise Unsupported(f"cannot reset the peak of resident memory here ({error})") from error


def _resident(field: str) -> int:
    """Bytes of resident memory: ``VmRSS`` now, ``VmHWM`` at the peak."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise Unsupported(f"no {field} on {sys.platform}")
