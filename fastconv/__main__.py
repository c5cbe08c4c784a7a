"""Command line: ``python -m fastconv demo``, ``python -m fastconv bench``, ``--cflags``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import fastconv


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (the process's own by default) and return its exit status."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if options.command == "bench":
        return _module("fastconv.benchmarks", extra="bench").main(rest) or 0
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.cflags:
        print(f"-I{fastconv.get_include()}")
    elif options.command == "demo":
        _module("fastconv.demo", extra="demo").run(
            epochs=options.epochs,
            seed=options.seed,
            batch_size=options.batch_size,
            output=options.output,
        )
    else:
        parser.print_help()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastconv", description=_summary())
    parser.add_argument("--version", action="version", version=f"fastconv {fastconv.__version__}")
    parser.add_argument(
        "--cflags", action="store_true", help="print the compiler flags an embedder needs"
    )
    commands = parser.add_subparsers(dest="command", title="commands", metavar="")

    demo = commands.add_parser("demo", help="train a small network on handwritten digits")
    demo.add_argument("--epochs", type=_positive, default=20, help="default %(default)s")
    demo.add_argument("--seed", type=_seed, default=0, help="default %(default)s")
    demo.add_argument("--batch-size", type=_positive, default=32, help="default %(default)s")
    demo.add_argument(
        "--output",
        type=_picture,
        default="fastconv-demo.png",
        metavar="PNG",
        help="where the picture goes, default %(default)s",
    )
    # No help of its own: -h is handed over with the other arguments.
    commands.add_parser("bench", help="compare speeds with other libraries", add_help=False)
    return parser


def _summary() -> str:
    """Return the first line of the package's docstring."""
    return (fastconv.__doc__ or "").strip().partition("\n")[0]


def _positive(text: str) -> int:
    return _at_least(1, text)


def _seed(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number from {least}, got {text!r}")
    return int(text)


def _picture(text: str) -> Path:
    """Return a path that can be written, so that no training ends in a missing folder."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in an existing folder, got {text!r}")
    return path


def _module(name: str, *, extra: str) -> ModuleType:
    """Import `name`, or leave with a line that says which extra it needs."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("fastconv"):
            raise
        sys.exit(f'{error.name} is missing; install it with: pip install "fastconv[{extra}]"')


if __name__ == "__main__":
    sys.exit(main())
