"""How each figure of ``report.md`` is defined, in the words that stand at its foot."""

from __future__ import annotations

from runners.report.non_inferiority import READING as NON_INFERIORITY

DEFINITIONS = f"""\
- **pair**: the same task, initial state and seed rolled out in both arms. A pair with an error in either arm is left
  out of every figure and counted.
- **success**: share of pairs, 95 % Wilson interval. **Difference**: policy minus baseline, Tango's score interval for
  paired rates; p from the exact McNemar test. The tasks are taken as fixed, not as a sample of tasks.
- **non-inferior**: {NON_INFERIORITY}
- **latency**: synchronised on both sides; deciding what to reuse is inside the total. Warm-up calls are made before
  the first episode and not recorded; a recorded one is left out and counted, on a GPU also every call that met a
  shape whose graph was captured only after it. Cold calls (the first of an episode) are in. Only calls made in this
  run count.
- **speed-up**: mean time of the baseline's calls / mean time of the policy's calls over the pairs timed in both arms,
  cold calls and dense fallbacks included; 95 % bootstrap interval that draws pairs (2000 draws, seed 0). The ratio of
  the medians beside it is that of the usual call and does not see a minority of slow ones.
- **control rate**: policy-limited = executed actions / time inside the policy; achieved = executed actions / wall time
  of the episodes, simulator included.
- **reuse ratio**: reused (layer, vision token) pairs / all such pairs, mean over every call of the policy arm, cold and
  fallback calls included. **MACs**: multiply-accumulates per call, mean; FLOPs are twice that.
"""
