"""The command ``python run.py ...`` (``vlacache-bench ...`` when installed)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from runners.help import help_text, wants_help
from vlacache import __version__


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and leave with its exit code: 0 done, 1 the run failed, 2 bad input, 130 interrupted."""
    if argv is not None:
        sys.argv = [sys.argv[0], *argv]
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nstopped before the first episode", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # `... --help | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:  # outside a run, such as Hydra's folder of a sweep
        from runners.preflight import describe_os_error

        print(f"error: {describe_os_error(error)}", file=sys.stderr)
        code = 1
    except ModuleNotFoundError as error:
        print(f"error: {error}. Run `make setup`, then use .venv/bin/python.", file=sys.stderr)
        code = 2
    sys.exit(code)


#: The same as ``-m``, written as a key.
_HYDRA_MULTIRUN = ("hydra.mode=MULTIRUN", "+hydra.mode=MULTIRUN")


def _run(argv: list[str]) -> int:
    from runners.config import ConfigError
    from runners.config_parse import check_cache
    from runners.overrides import compose_runs, split_words

    try:
        if wants_help(argv):
            print(help_text(argv))
            return 0
        if "--version" in argv:
            print(f"vlacache-bench {__version__}")
            return 0
        options, words = split_words(argv)
        runs = compose_runs(words)
        if len(runs) > 1 and not {"-m", "--multirun", *_HYDRA_MULTIRUN}.intersection([*options, *words]):
            raise ConfigError(
                f"the command names {len(runs)} runs: add -m to run them all, or name one value for each key"
            )
        for run in runs:
            check_cache(run.config.cache)
    except ConfigError as error:
        print(f"error: {error}\nSee: python run.py --help", file=sys.stderr)
        return 2
    sys.argv = [sys.argv[0], *options, *words]  # Hydra reads it, and takes no option after a word
    return _hand_to_hydra(words)


def _hand_to_hydra(words: Sequence[str]) -> int:
    """Compose once more, this time by Hydra's own rules (``-m``, ``--cfg job``, ``hydra.*``), and run every job."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import DictConfig
    from omegaconf.errors import OmegaConfBaseException

    from runners.config import ConfigError
    from runners.launch import BAD_INPUT, INTERRUPTED, launch
    from runners.overrides import CONFIG_NAME, config_dir, to_run

    codes = [0]

    @hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=CONFIG_NAME)
    def job(composed: DictConfig) -> None:
        context = HydraConfig.get()
        task_words = list(context.overrides.task) if context.mode is RunMode.MULTIRUN else words
        try:
            run = to_run(composed, context.runtime.choices, task_words)
        except ConfigError as error:  # a sweep written in a config file is first seen here
            print(f"error: {error}", file=sys.stderr)
            codes.append(BAD_INPUT)
            return
        codes.append(launch(run, task_words))
        if codes[-1] == INTERRUPTED:
            sys.exit(INTERRUPTED)  # not the next job of a sweep

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors come to us, not to Hydra's own printer
    try:
        job()
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {str(error).splitlines()[0]}\nSee: python run.py --help", file=sys.stderr)
        return BAD_INPUT
    return max(codes)
