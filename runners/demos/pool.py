"""Processes that record at the same time, and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.connection import Connection
from typing import Any


def run_in_processes(
    workers: int,
    start: Callable[..., None],
    start_arguments: Sequence[Any],
    work: Callable[..., Any],
    jobs: Sequence[Sequence[Any]],
) -> Generator[Any, None, None]:
    """Results of ``work(*job)`` in the order in which they are done.

    The workers end at once when the generator is closed or interrupted, when a job raises, and when this process is
    killed: all of them hold one end of a pipe whose other end only this process has.

    Args:
        workers: processes. start: called once in each, with ``start_arguments``. work: called for every one of
            ``jobs``. All of it is pickled.
    """
    context = multiprocessing.get_context("spawn")  # a forked child would share this process's OpenGL context
    lifeline, held = context.Pipe(duplex=False)
    arguments = (lifeline, start, tuple(start_arguments))
    with lifeline, held, ProcessPoolExecutor(workers, context, initializer=_begin, initargs=arguments) as pool:
        futures = [pool.submit(work, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            held.close()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(lifeline: Connection, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True, name="lifeline").start()
    start(*arguments)


def _end_with(lifeline: Connection) -> None:
    """Leave when the other end is closed. A worker that outlived its parent would write beside the next command."""
    lifeline.poll(None)
    os._exit(1)
