"""The sweep of the README: every arm beside one shared baseline, then one table and one picture.

Three Hydra calls of ``run.py`` below ``results/<sweep_id>/``. A second call does only what is missing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without an installed package

from runners.argv import parse_with_words
from runners.script import call_run, run_script

BASELINE = "none"
REUSE_RATIOS = ("0.2", "0.4", "0.6", "0.8")
POLICIES = ("adaptive", "paper", "official")


def commands(sweep_id: str, words: list[str]) -> list[list[str]]:
    """Words of the three calls: the baseline, then the arms that share it."""
    common = ["experiment=sweep_slice", *words]
    shared = [*common, f"runner.shared_baseline={sweep_id}/{BASELINE}", f"hydra.sweep.dir=results/{sweep_id}"]
    return [
        [*common, f"cache={BASELINE}", f"run_id={sweep_id}/{BASELINE}"],
        ["-m", *shared, "cache=fixed_ratio", f"cache.reuse_ratio={','.join(REUSE_RATIOS)}",
         f"run_id={sweep_id}/fixed_ratio-${{cache.reuse_ratio}}"],
        ["-m", *shared, f"cache={','.join(POLICIES)}", f"run_id={sweep_id}/${{hydra:runtime.choices.cache}}"],
    ]  # fmt: skip


def main() -> int:
    """Run the sweep and write its report; the exit code is that of the first call that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep_id", help="folder below results/")
    parser.add_argument("words", nargs="*", help="more key=value words for every run")
    given = parse_with_words(parser)
    return run_script(lambda: run_sweep(given.sweep_id, given.words))


def run_sweep(sweep_id: str, words: list[str]) -> int:
    """See ``main``."""
    for call in commands(sweep_id, words):
        code = call_run(call)
        if code:
            return code
    from runners.report.sweep import print_sweep, write_sweep_report

    sweep_dir = Path("results") / sweep_id
    print_sweep(write_sweep_report(sweep_dir))
    print(f"\ntable: {sweep_dir}/sweep.md   figures: {sweep_dir}/sweep.csv   picture: {sweep_dir}/sweep.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
