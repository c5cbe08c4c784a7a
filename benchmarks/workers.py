"""The parent's side of the workers: starting them, asking them, ending them."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

PEERS = ("torch", "onnx", "jax", "scipy")

PACKAGE = Path(__file__).parent

# Imports this package under its folder's name, so that a peer's process never loads fastconv
# and the interpreter of a peer (--peer-python) need not have it.
BOOTSTRAP = """
import sys
sys.path.insert(0, sys.argv[1])
package = __import__(sys.argv[2])
del sys.path[0]
from importlib import import_module
import_module(sys.argv[2] + ".worker").main()
"""

THREAD_VARIABLES = (
    "FASTCONV_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NPROC",  # read by XLA
)


class Refused(Exception):
    """The peer has no such operation, or is not installed."""


class Failed(Exception):
    """The peer raised, or its process ended."""


class Worker:
    """A process that serves one peer. It sleeps on its stdin until it is asked."""

    def __init__(self, peer: str, threads: int, python: str = sys.executable) -> None:
        self.peer = peer
        self._threads, self._python = threads, python
        self._start()

    def _start(self) -> None:
        threads = self._threads
        self._log = tempfile.TemporaryFile(  # noqa: SIM115 (closed by `close`)
            "w+", encoding="utf-8", errors="replace"
        )
        try:
            self._process = subprocess.Popen(
                [self._python, "-c", BOOTSTRAP, str(PACKAGE.parent), PACKAGE.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                encoding="utf-8",
                env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
            )
        except OSError:  # no such interpreter
            self._log.close()
            raise
        try:
            reply = self.ask("start", peer=self.peer, threads=threads, cpus=cpus_for(threads))
        except BaseException:
            self.close()
            raise
        self.versions: dict[str, str] = reply["versions"]
        self.configuration: str = reply.get("configuration", "")

    def restart_if_ended(self) -> None:
        """Let what ended the process cost the peer one problem, not all that follow."""
        if self._process.poll() is not None:
            self.close()
            self._start()

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """Send a request, wait for the reply; raise `Refused` or `Failed` where it says so."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": action, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise Failed(f"the process of {self.peer} ended: {self._last_words()}")
        reply: dict[str, Any] = json.loads(line)
        if "refused" in reply:
            raise Refused(reply["refused"])
        if "failed" in reply:
            raise Failed(reply["failed"])
        return reply

    def _last_words(self) -> str:
        """The last line that the process wrote to stderr, and its exit status."""
        status = self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return f"{lines[-1] if lines else 'no message'} (exit status {status})"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._log.close()


@contextmanager
def running(
    peers: tuple[str, ...], threads: int, pythons: Mapping[str, str]
) -> Iterator[tuple[dict[str, Worker], dict[str, str]]]:
    """Workers of the peers that are there, and for each absent one the reason."""
    workers: dict[str, Worker] = {}
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        for peer in peers:
            try:
                workers[peer] = Worker(peer, threads, pythons.get(peer, sys.executable))
            except (Refused, Failed, OSError) as reason:
                absent[peer] = str(reason)
            else:
                stack.callback(workers[peer].close)
        yield workers, absent


def cpus_for(threads: int) -> list[int] | None:
    """As many of the CPUs this process may use as there are threads, spread over the cores."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cpus = sorted(os.sched_getaffinity(0))
    # The n-th hardware thread of a core comes after all of the (n-1)-th.
    return sorted(cpus, key=lambda cpu: (_siblings(cpu).index(cpu), cpu))[:threads]


def _siblings(cpu: int) -> list[int]:
    """The CPUs that share a core with this one, itself included."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        text = path.read_text()
    except OSError:
        return [cpu]
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found
