"""Command line: ``python -m fastconv demo``, ``python -m fastconv bench``, ``--cflags``, …."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
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
    if options.told:
        print(_TOLD[options.told]())
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


# What is there for the builds of embedders to ask.
_PACKAGE = Path(fastconv.__file__).resolve().parent
_TOLD: dict[str, Callable[[], str]] = {
    "cflags": lambda: f"-I{fastconv.get_include()}",
    "include": fastconv.get_include,
    "cmakedir": lambda: str(_PACKAGE / "cmake"),
    "pkgconfigdir": lambda: str(_PACKAGE / "pkgconfig"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastconv", description=_summary())
    parser.add_argument("--version", action="version", version=f"fastconv {fastconv.__version__}")
    told = parser.add_argument_group(
        "for programs that call fastconv from C, C++ or CMake"
    ).add_mutually_exclusive_group()
    for name, words in (
        ("cflags", "the compiler flags, beside those of Python itself"),
        ("include", "the folder of fastconv.h"),
        ("cmakedir", "the folder of the CMake package, for fastconv_DIR"),
        ("pkgconfigdir", "the folder of fastconv.pc, for PKG_CONFIG_PATH"),
    ):
        told.add_argument(
            f"--{name}", dest="told", action="store_const", const=name, help=f"print {words}"
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
