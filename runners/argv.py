"""Command lines of scripts that take options and key=value words in any order."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

#: ``samples=12``, ``suite.task_ids=[0,3]``, ``+a.b=1``. No path with a folder: that has a slash before the ``=``.
_WORD = re.compile(r"[+~]{0,2}[A-Za-z_][\w.@]*=")


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
