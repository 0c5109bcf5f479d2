"""Write the tables of results/bench/*.json into docs/benchmarks.md, so that no number there was typed.

    python scripts/bench_docs.py            after bench_latency.py or replay_speculation.py
    python scripts/bench_docs.py --check    exit code 1 if the page is not what the files say, or one is of weights
                                            that no longer ship

The part of the page between the two marker lines is replaced; the rest is prose.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

if __package__ in (None, ""):  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vlacache.bench.benchmark import SCHEMA_VERSION, Benchmark
from vlacache.bench.command import one_line_errors
from vlacache.bench.speculation import SpeculationReport
from vlacache.models.factory import PACKAGED, checkpoint_id, shipped_models

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "docs" / "benchmarks.md", ROOT / "results" / "bench"
BEGIN, END = "<!-- tables: written by scripts/bench_docs.py -->", "<!-- end of tables -->"


def sections(folder: Path) -> list[str]:
    """One section a file, latency first; files of an earlier version, whose fields were others, are left out."""
    shown: list[tuple[int, str, str]] = []
    for file in sorted(folder.glob("*.json")):
        data = json.loads(file.read_text())
        if data.get("kind") == "speculation":
            report = SpeculationReport.from_dict(data)
            title = f"Speculative decoding of {report.model.name}"
            shown.append((1, file.name, section(title, report.command, report.date, report.show())))
        elif data.get("schema_version") == SCHEMA_VERSION:
            bench = Benchmark.read(file)
            title = f"{bench.model.name} ({bench.model.checkpoint}) on {bench.machine['device']}"
            shown.append((0, file.name, section(title, bench.command, bench.date, bench.show())))
    return [text for _, _, text in sorted(shown)]


def stale_files(folder: Path) -> list[str]:
    """Files whose measurement, trace or episode is of other weights than the ones that ship now."""
    now = {name: checkpoint_id(PACKAGED / name) for name in shipped_models()}
    words = re.compile(rf"\b({'|'.join(now)})@[0-9a-f]{{12}}\b")
    return [
        file.name
        for file in sorted(folder.glob("*.json"))
        if any(use[0] != now[use[1]] for use in words.finditer(file.read_text()))
    ]


def section(title: str, command: str, date: str, table: str) -> str:
    """Heading, what was called and when, table."""
    return f"## {title}\n\n`{command}` ({date}):\n\n```\n{table}\n```\n"


def page(text: str, tables: list[str]) -> str:
    """The page with its tables replaced.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed or BEGIN in rest or END in after:
        raise ValueError(f"{PAGE.name}: expected the lines {BEGIN!r} and {END!r}, once each")
    body = "".join(f"{table}\n" for table in tables)
    return f"{before}{BEGIN}\n\n{body}{END}{after}"


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    with one_line_errors():
        now = PAGE.read_text()
        wanted = page(now, sections(RESULTS))
        if args.check:
            stale = stale_files(RESULTS)
            problems = [f"{PAGE.name} is not what {RESULTS.name}/ says"] if now != wanted else []
            problems += [f"measured with weights that no longer ship: {', '.join(stale)}"] if stale else []
            print("\n".join(problems) or "up to date")
            return int(bool(problems))
        PAGE.write_text(wanted)
        print(f"{PAGE.name}: {wanted.count('## ') - now.count('## '):+d} sections")
    return 0


if __name__ == "__main__":
    sys.exit(main())
