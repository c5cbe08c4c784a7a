"""What this build of fastconv is, and what it found on this machine."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any, Literal, overload

import numpy

__all__ = ["get_include", "show_config"]

__version__ = "0.1.0"

_PACKAGE = Path(__file__).resolve().parent

_NO_OPENMP = "no: this build computes every call on one thread"

# How the file of each OpenMP runtime is called, in lower case.
_OPENMP_FILES = ("libgomp", "libiomp", "libomp", "vcomp")


@overload
def show_config(mode: Literal["stdout"] = ...) -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, dict[str, Any]]: ...
def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, dict[str, Any]] | None:
    """Show the version, the build, the CPU and the threads: what a bug report needs.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default "stdout"
        Print, or return the same as dictionaries, as `numpy.show_config` does.

    Returns
    -------
    dict of dict, or None for ``mode="stdout"``
        ``"versions"``: fastconv, Python, NumPy and the system.  ``"build"``: the compiler, Cython,
        and whether OpenMP was there.  ``"cpu"``: instruction sets that build and CPU both have,
        the one in use (``FASTCONV_ISA`` forces another) and bytes of cache.  ``"threads"``: how
        many a call may use, the environment variables that say so, and the OpenMP runtimes
        loaded, None where the system does not tell.

    Raises
    ------
    ValueError
        For another mode.

    Examples
    --------
    >>> import fastconv
    >>> config = fastconv.show_config(mode="dicts")
    >>> config["versions"]["fastconv"] == fastconv.__version__
    True
    >>> "portable" in config["cpu"]["instruction sets"]
    True
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f'mode must be "stdout" or "dicts", got {mode!r}')
    config = _config()
    if mode == "dicts":
        return config
    for section, values in config.items():
        print(f"{section}:")
        for name, value in values.items():
            words = _NO_OPENMP if name == "OpenMP" and not value else _words(value)
            print(f"  {name:<24}{words}")
    return None


def get_include() -> str:
    """Return the folder of ``fastconv.h``, for programs in C and C++ that call fastconv.

    Cython needs no folder: ``cimport fastconv`` finds its declarations beside the package.

    Returns
    -------
    str
        An absolute path.  ``python -m fastconv --cflags`` prints it as a compiler's flag.

    Examples
    --------
    >>> import os, fastconv
    >>> os.path.exists(os.path.join(fastconv.get_include(), "fastconv.h"))
    True
    """
    return str(_PACKAGE / "include")


def _config() -> dict[str, dict[str, Any]]:
    from fastconv import _kernels, engine, threads

    asked = ("FASTCONV_NUM_THREADS", "OMP_NUM_THREADS")
    return {
        "versions": {
            "fastconv": __version__,
            "Python": platform.python_version(),
            "NumPy": numpy.__version__,
            "system": f"{platform.system()} {platform.machine()}",
        },
        "build": {
            "compiler": _kernels.COMPILER,
            "Cython": _kernels.CYTHON,
            "OpenMP": threads.has_openmp(),
        },
        "cpu": {
            "instruction sets": _kernels.available(),
            "in use": _kernels.current(),
            "FASTCONV_ISA": os.environ.get("FASTCONV_ISA"),
            "cache": _kernels.cache_sizes(),
        },
        "algorithm": {
            "default": engine.get_default(),
            "FASTCONV_ALGORITHM": os.environ.get("FASTCONV_ALGORITHM"),
        },
        "threads": {
            "at most": threads.get_count(),
            **{name: os.environ.get(name) for name in asked},
            "OpenMP runtime": _openmp_runtimes(),
        },
    }


def _openmp_runtimes() -> list[str] | None:
    """Return the files of all OpenMP runtimes in this process, which only Linux tells cheaply."""
    if sys.platform != "linux":
        return None
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # address, permissions, offset, device, inode, and the path, which may hold spaces
    paths = {fields[5] for line in maps.splitlines() if len(fields := line.split(None, 5)) == 6}
    return sorted(path for path in paths if Path(path).name.lower().startswith(_OPENMP_FILES))


def _words(value: object) -> str:
    """Return a value as one would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {size >> 10} KiB" for name, size in value.items())
    if isinstance(value, list):
        return ", ".join(value) if value else "none"
    return "-" if value is None else str(value)
