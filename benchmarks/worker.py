"""The child process: one peer, which answers requests and sleeps between them.

A request is a line of JSON on stdin, ``{"do": name, ...}``; its reply is a line of JSON on what was
stdout at the start (file descriptor 1 itself goes to stderr, since libraries print). A reply with
``"refused"`` says that the peer has no such operation, one with ``"failed"`` that it raised.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import numpy as np

from . import peak_memory, timing
from .problem import Call, Problem, Unsupported

SAMPLES = 64  # elements of a result that are compared with fastconv's


class Server:
    """Answers the requests for one peer."""

    def __init__(self) -> None:
        self.peer: Any = None
        self.threads = 1
        self.problem: Problem | None = None
        self.calls: dict[str, Call] = {}
        self.actions: dict[str, Callable[..., dict[str, Any]]] = {
            "start": self.start,
            "threads": self.set_threads,
            "prepare": self.prepare,
            "measure": self.measure,
            "yardsticks": self.yardsticks,
            "memory": self.memory,
        }

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        arguments = dict(request)
        return self.actions[arguments.pop("do")](**arguments)

    def start(self, peer: str, threads: int, cpus: list[int] | None) -> dict[str, Any]:
        """Import the peer, on the CPUs it may use; a peer that is not installed is refused."""
        if cpus is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cpus)
        try:
            self.peer = importlib.import_module(f".peer_{peer}", __package__)
        except ImportError as error:
            raise Unsupported(str(error)) from error
        self.threads = threads
        reply: dict[str, Any] = {"versions": self.peer.start(threads)}
        if hasattr(self.peer, "configuration"):
            reply["configuration"] = self.peer.configuration()
        return reply

    def set_threads(self, threads: int) -> dict[str, Any]:
        """Change the number of threads."""
        self.threads = threads
        self.peer.start(threads)
        return {}

    def prepare(self, problem: Mapping[str, Any]) -> dict[str, Any]:
        """Make the operands, run every variant once and return samples of the results."""
        self.calls = {}
        self.problem = Problem.from_json(problem)
        self.calls = self.peer.calls(self.problem)
        samples = {}
        for name, call in self.calls.items():
            result = np.ravel(call.to_array(call.run()))
            places = np.linspace(0, result.size - 1, min(SAMPLES, result.size)).astype(int)
            samples[name] = [float(value) for value in result[places]]
        timing.settle()
        return {"samples": samples}

    def measure(self, budget: float) -> dict[str, Any]:
        """Seconds a call, for every variant of the prepared problem."""
        times = {}
        for name, call in self.calls.items():
            times[name] = timing.best_time(call.run, budget)
            timing.settle()
        return {"times": times}

    def yardsticks(self, budget: float) -> dict[str, Any]:
        """The machine's limits for the prepared problem: FMA peak and a copy of its bytes."""
        assert self.problem is not None
        peak = self.peer.fma_peak(self.problem.dtype)
        copy = None
        if self.problem.low_intensity:
            copy = timing.copy_time(self.problem.bytes_moved, self.threads, budget)
        return {"fma_peak": None if peak is None else peak * self.threads, "copy": copy}

    def memory(self, problem: Mapping[str, Any], variant: str) -> dict[str, Any]:
        """Bytes of memory that one call takes at its peak, beyond operands and result."""
        return peak_memory.of_call(self.peer, Problem.from_json(problem), variant)


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer until ``requests`` ends."""
    server = Server()
    for line in requests:
        try:
            reply = server.answer(json.loads(line))
        except Unsupported as reason:
            reply = {"refused": str(reason)}
        except Exception as error:  # the parent decides what it means
            reply = {"failed": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Serve the process that started this one."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, replies)
