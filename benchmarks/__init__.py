"""Is fastconv fast?  ``python -m fastconv bench`` answers, next to the peers that are installed.

The way through the code::

    cli → compare, scaling, memory → workers ⇄ worker → peer_*.py
        → report, picture

``cli`` reads the options, ``catalogue`` the layers. ``compare`` lets the processes of ``workers``
take turns; in each of them ``worker`` answers questions with one of the ``peer_*`` modules.
``ratios`` and ``report`` turn times into tables.

A worker is started without importing fastconv (only fastconv's own worker does), so nothing
here may import it at the top of a module.
"""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return its exit status."""
    from .cli import run

    return run(argv)
