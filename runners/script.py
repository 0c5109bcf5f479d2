"""What the scripts share: errors of one line, Ctrl-C, calls of ``run.py``."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from runners.interrupts import sigterm_as_interrupt

RUN_SCRIPT = Path(__file__).resolve().parents[1] / "run.py"
FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
#: An interrupted run writes what it has. After this long nobody has told it, as a terminal's Ctrl-C does.
STOP_SECONDS = 10.0


def run_script(main: Callable[[], int], stopped: str = "stopped; the same command goes on from here") -> int:
    """Exit code of ``main``; what it raises becomes one line on standard error.

    Args:
        main: the script behind its argument parser. stopped: what to say after Ctrl-C or SIGTERM.
    """
    from runners.preflight import describe_os_error

    try:
        with sigterm_as_interrupt():
            return main()
    except (ValueError, RuntimeError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return INTERRUPTED


def call_run(words: Sequence[str]) -> int:
    """``python run.py <words>`` in the current folder; its exit code.

    Raises:
        KeyboardInterrupt: this process was interrupted; the run has ended by then and can be continued.
    """
    print(f"\n$ python run.py {shlex.join(words)}", flush=True)
    process = subprocess.Popen([sys.executable, str(RUN_SCRIPT), *words])
    try:
        return process.wait()
    except KeyboardInterrupt:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()  # ends a run as Ctrl-C does, see runners/interrupts.py
        process.wait()
