"""Every mistake on the command line gets one clear line and exit code 2, before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runners.config import ConfigError
from runners.config_parse import check_cache
from runners.overrides import compose_runs, split_words

MISTAKES = {
    "suite=libro_spatial": "no such suite; did you mean 'libero_spatial'?",
    "cache=adaptiv": "no such cache; did you mean 'adaptive'?",
    "model=tiny-oft": "no such model; did you mean 'tiny_oft'?",
    "debug=smok": "no such debug; did you mean 'smoke'?",
    "experiment=main_jop": "no such experiment; did you mean 'main_job'?",
    "suite.task_idz=[0]": "suite=libero_spatial has no key 'task_idz'; did you mean 'task_ids'?",
    "+suite.new_key=1": "suite=libero_spatial has no key 'new_key'",
    "suite=toy suite.render=fast": "'render' belongs to suite=libero_10, suite=libero_90",
    "sede=1": "unknown key 'sede'; did you mean 'seed'?",
    "cach=none": "unknown key 'cach'; did you mean 'cache'?",
    "seed=abc": "seed: expected an integer, got 'abc'",
    "seed=0.5": "seed: expected an integer, got 0.5",
    "seed=-1": "seed: expected 0 or more, got -1",
    "seed=null": "seed: expected an integer, got None",
    "seed=true": "seed: expected an integer, got True",
    "suite.task_ids=[99]": "libero_spatial has tasks 0 .. 9, got [99]",
    "suite.task_ids=[]": "expected at least one number, each once, got []",
    "suite.task_ids=[1,1]": "expected at least one number, each once, got [1, 1]",
    "suite.task_ids=3": "suite.task_ids: expected a list such as [0,3], got 3",
    "suite.task_ids=[0,x]": "suite.task_ids[1]: expected an integer, got 'x'",
    "suite.episodes_per_task=0": "suite.episodes_per_task: expected 1 or more, got 0",
    "suite.max_steps=ten": "suite.max_steps: expected an integer, got 'ten'",
    "suite.reseed=tasks": "suite.reseed=tasks: expected one of episode, task; did you mean 'task'?",
    "suite=libero_goal suite.placement=wide": "written for suite=libero_spatial, got suite=libero_goal",
    "suite.render=quick": "suite.render=quick: expected one of reference, fast",
    "suite.success_rule=last": "suite.success_rule=last: expected one of first, final_step, any_step",
    "cache=fixed_ratio cache.reuse_ratio=1.5": "cache.reuse_ratio: expected a number between 0.0 and 1.0, got 1.5",
    "cache=fixed_ratio cache.reuse_ratio=most": "cache.reuse_ratio: expected a number, got 'most'",
    "cache=fixed_ratio cache.tau=0.9": "cache=fixed_ratio has no key 'tau'",
    "cache=none cache.reuse_ratio=0.5": "'reuse_ratio' belongs to cache=fixed_ratio, cache=random",
    "cache=paper cache.tau=2": "cache.tau: expected a number between -1.0 and 1.0, got 2",
    "model=expert cache=adaptive": "model=expert has no keys and values to reuse, got cache=adaptive: add cache=none",
    "model=blind cache=paper": "model=blind is a control for tables of caches, got cache=paper: add cache=none",
    "model=replay suite=toy": "model=replay plays training episodes of a LIBERO suite, got suite=toy",
    "model=expert model.dtype=float32": "model=expert has no key 'dtype'",
    "model=tiny_oft model.decode=speculative": "'decode' belongs to model=openvla, model=tiny_openvla",
    "model=tiny_openvla model.decode=fast": "model.decode=fast: expected one of plain, speculative",
    "model.runtime=graph": "model.runtime=graph: expected one of auto, eager, graphs; did you mean 'graphs'?",
    "model.dtype=float8": "model.dtype=float8: expected one of auto, float32, bfloat16",
    "runner.self_pair=true": "runner.self_pair compares the baseline with itself, got cache=adaptive: add cache=none",
    "runner.self_pair=yess": "runner.self_pair: expected true or false, got 'yess'",
    "runner.video=2": "runner.video: expected none, first, all or a list",
    "device=gpu": "device=gpu: expected auto, cpu, cuda or cuda:<n>",
    "run_id=../elsewhere": "run_id=../elsewhere: expected letters, digits",
    "run_id=a/b/c": "run_id=a/b/c: expected letters, digits",
    f"run_id={'x' * 121}": "expected at most 120 characters, got 121",
    "cache=adaptive cache=paper": "cache is named twice: cache=adaptive and cache=paper; name it once",
    "cache=paper cache.top_k=true": "cache.top_k: expected a number, got True",
    "--helpp": "'--helpp': no such option; did you mean '--help'?",
    "model=expert cache=none suite=libero_10": "no expert is written for suite=libero_10; choose from",
    "assets=3": "assets: expected text, got 3",
    "suite.task_ids=[0,3": "'suite.task_ids=[0,3': cannot be read; expected key=value",
    "libero_spatial": "expected key=value, such as cache=adaptive; did you mean suite=libero_spatial?",
    "-m cache=none,adaptiv": "cache=adaptiv: no such cache; did you mean 'adaptive'?",
    "-m cache=fixed_ratio cache.reuse_ratio=0.2,1.2": "expected a number between 0.0 and 1.0, got 1.2",
}


@pytest.mark.parametrize(("command", "message"), MISTAKES.items())
def test_mistake_is_named(command, message):
    with pytest.raises(ConfigError) as caught:
        _check(command.split())
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_all_wrong_values_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        compose_runs(["seed=abc", "suite.max_steps=0"])
    assert str(caught.value).splitlines() == [
        "seed: expected an integer, got 'abc'",
        "suite.max_steps: expected 1 or more, got 0",
    ]


def test_exit_code_2_without_traceback_and_without_a_trace_on_the_disk(repo_root, tmp_path):
    done = _run(repo_root, tmp_path, "cache=adaptiv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: cache=adaptiv: no such cache; did you mean 'adaptive'?")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["model=blind", "model.base=expert"],
            "model.base=expert: no model that is given pictures; choose from cogact",
        ),
        (["model=blind", "model.base=tiny_otf"], "did you mean 'tiny_oft'?"),
        (["suite.episodes_per_task=21"], "a run of the official placement ends at 20 episodes a task"),
        (["model.checkpoint=nowhere"], "expected config.json in nowhere"),
        (["model.num_open_loop_steps=99"], "model.num_open_loop_steps: expected 1..8"),
        (["runner.video=['9:9']"], "runner.video: 9:9 not among the pairs of this run (task:state): 0:0, 0:1"),
        (["cache=none,paper"], "the command names 2 runs: add -m to run them all"),
        (["foo=help"], "no group 'foo'"),
        (["runner.shared_baseline=nowhere"], "nowhere/run.json: expected a run record"),
    ],
)
def test_what_only_the_parts_know_is_bad_input_too(repo_root, tmp_path, words, message):
    done = _run(repo_root, tmp_path, "suite=toy", "device=cpu", *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stdout, list(tmp_path.iterdir())) == ("", [])


@pytest.mark.parametrize("words", [["run_id=demo"], [], ["-m", "run_id=demo/${cache.name}", "cache=none,adaptive"]])
def test_a_file_in_the_way_of_the_results_is_one_line_and_code_1(repo_root, tmp_path, words):
    (tmp_path / "results").write_text("")
    done = _run(repo_root, tmp_path, "debug=smoke", "device=cpu", *words)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: results")
    assert "a file stands where a folder is needed" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr
    assert "HYDRA_FULL_ERROR" not in done.stderr


def test_names_are_checked_before_torch_is_loaded(repo_root):
    code = (
        "import sys\nfrom runners.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    sys.exit(10 * int('torch' in sys.modules) + end.code)"
    )
    for word in ("suite=libro", "seed=abc", "suite.task_ids=[99]"):
        done = subprocess.run([sys.executable, "-c", code, word], cwd=repo_root, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr


def _check(argv):
    for run in compose_runs(split_words(argv)[1]):
        check_cache(run.config.cache)


def _run(repo_root, cwd, *words):
    return subprocess.run([sys.executable, str(repo_root / "run.py"), *words], cwd=cwd, capture_output=True, text=True)
