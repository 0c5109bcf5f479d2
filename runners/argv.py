"""Command lines of scripts that take options and key=value words in any order."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence

#: ``samples=12``, ``suite.task_ids=[0,3]``, ``+a.b=1``. No path with a folder: that has a slash before the ``=``.
_WORD = re.compile(r"[+~]{0,2}[A-Za-z_][\w.@]*=")


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """``type=`` of an argparse option: a whole number of at least ``low`` and at most ``high``."""
    asked = f"expected a whole number of at least {low}" if high is None else f"expected {low} .. {high}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{asked}, got {text!r}") from None
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{asked}, got {text!r}")
        return value

    return parse


def finite(low: float, *, above: bool = False) -> Callable[[str], float]:
    """``type=`` of an argparse option: a finite number of at least ``low``, or greater with ``above``."""
    asked = f"expected a number {'above' if above else 'of at least'} {low:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{asked}, got {text!r}") from None
        if not math.isfinite(value) or value < low or (above and value == low):
            raise argparse.ArgumentTypeError(f"{asked}, got {text!r}")
        return value

    return parse


def parse_with_words(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse ``argv``; its key=value words go to ``words``, wherever they stand.

    argparse alone gives words that follow an option with ``nargs="+"`` to that option. A value of an option that
    looks like such a word is joined to its option: ``--folder=a=b``.

    Args:
        parser: has a positional argument ``words`` with ``nargs="*"``, its last one. argv: without the program's
            name; None: of this process.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    words = [word for word in given if _WORD.match(word)]
    namespace = parser.parse_intermixed_args([word for word in given if not _WORD.match(word)])
    strangers = [word for word in namespace.words if "=" not in word]
    if strangers:
        parser.error(f"{' '.join(strangers)}: expected key=value")
    namespace.words = [*namespace.words, *words]
    return namespace
