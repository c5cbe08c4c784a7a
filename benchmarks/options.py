"""The options of ``python -m fastconv bench``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from . import catalogue
from .problem import PASSES
from .workers import PEERS

DEFAULT_LAYERS = (
    "design,lenet,vgg16/conv3_2,resnet50/conv3_1_3x3,resnet50/conv4_reduce,resnet50/conv5_expand,"
    "mobilenetv2/stem,mobilenetv2/112_dw96_s2,mobilenetv2/14_dw384,mobilenetv2/28_project192-32"
)

EPILOG = """\
ratio: the peer's time over fastconv's, so that above 1 fastconv is the faster; the median over
rounds, and the least. "cl": the peer's better layout was channels_last. "of FMA": the share of
the FMA peak measured in the same run. "of copy": the time of a copy of the same bytes over the
call's, where a call has less than 32 FLOPs a byte."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(
        prog="python -m fastconv bench",
        description="Compare fastconv's speed with PyTorch, ONNX Runtime, JAX and SciPy.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    mode = result.add_mutually_exclusive_group()
    mode.add_argument("--scaling", action="store_true", help="fastconv with 1, 2, ... threads")
    mode.add_argument("--memory", action="store_true", help="peak memory of a call, no times")
    mode.add_argument("--calls", action="store_true", help="nanoseconds of a small call from C")
    mode.add_argument("--accuracy", action="store_true", help="rounding errors, no times")
    mode.add_argument("--list", action="store_true", help="print the known layers and stop")
    add(
        "--layers",
        type=_names,
        default=_names(DEFAULT_LAYERS),
        metavar="NAMES",
        help=f"networks or patterns, by comma; networks: {', '.join(catalogue.networks())}",
    )
    add(
        "--passes",
        type=_passes,
        default=PASSES,
        metavar="NAMES",
        help=f"by comma, of {', '.join(PASSES)} (default: all)",
    )
    add(
        "--peers",
        type=_peers,
        default=PEERS,
        metavar="NAMES",
        help=f"by comma, of {', '.join(PEERS)}; or all (default) or none",
    )
    add(
        "--peer-python",
        type=_peer_python,
        action="append",
        default=[],
        metavar="PEER=PATH",
        help="run a peer in another Python, one that has it and NumPy",
    )
    add(
        "--threads",
        type=_positive,
        metavar="N",
        help="threads of everybody (default: 1; with --scaling: all CPUs)",
    )
    add("--batch", type=_positive, metavar="N", help="another batch size for all layers")
    add("--dtype", choices=("float32", "float64"), default="float32", help="(default: float32)")
    add("--algorithm", default="auto", metavar="NAME", help="fastconv's (default: auto)")
    add("--rounds", type=_positive, default=5, metavar="N", help="(default: 5)")
    add("--json", type=Path, metavar="FILE", help="write everything that was measured")
    add("--picture", type=Path, metavar="FILE", help="draw the ratios (needs Matplotlib)")
    add("--roofline", type=Path, metavar="FILE", help="draw speeds under the machine's limits")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    return result


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _chosen(text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = _names(text)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"expected names of {', '.join(known)}, got {text!r}")
    return names


def _passes(text: str) -> tuple[str, ...]:
    return PASSES if text == "all" else _chosen(text, PASSES)


def _peers(text: str) -> tuple[str, ...]:
    everyone = {"all": PEERS, "none": ()}
    return everyone[text] if text in everyone else _chosen(text, PEERS)


def _peer_python(text: str) -> tuple[str, str]:
    peer, separator, path = text.partition("=")
    if peer not in PEERS or not separator:
        raise argparse.ArgumentTypeError(f"expected peer=path, got {text!r}")
    return peer, path


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)
