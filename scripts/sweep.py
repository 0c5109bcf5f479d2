"""The sweep of the README: every arm beside one shared baseline, then one table and one picture.

Three Hydra calls of ``run.py`` below ``results/<sweep_id>/``. A second call does only what is missing.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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
    given = parser.parse_args()
    for words in commands(given.sweep_id, given.words):
        print(f"\n$ python run.py {shlex.join(words)}", flush=True)
        code = subprocess.run([sys.executable, str(ROOT / "run.py"), *words]).returncode
        if code:
            return code
    sys.path.insert(0, str(ROOT))
    from runners.report.sweep import print_sweep, write_sweep_report

    sweep_dir = Path("results") / given.sweep_id
    print_sweep(write_sweep_report(sweep_dir))
    print(f"\ntable: {sweep_dir}/sweep.md   figures: {sweep_dir}/sweep.csv   picture: {sweep_dir}/sweep.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
