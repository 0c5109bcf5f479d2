"""``suite.settings``: which layouts a run takes, and what is refused before it starts."""

from __future__ import annotations

from collections import Counter

import pytest

from runners.config import ConfigError
from runners.envs.simpler.google_tasks import VA_SUITE, VM_SUITE, task_layouts
from runners.envs.simpler.selection import check_settings, select_layouts, setting_names
from runners.overrides import compose_run
from runners.plan import plan_episodes

COLORS = ("arm_original", "arm_tabletop_1", "arm_tabletop_2", "arm_cabinet_1")


@pytest.mark.parametrize("suite", [VM_SUITE, VA_SUITE])
@pytest.mark.parametrize("task_id", range(11))
def test_without_settings_every_layout_is_taken_once(suite: str, task_id: int) -> None:
    taken = select_layouts(suite, task_id, None)
    assert sorted(taken) == list(range(len(task_layouts(suite, task_id))))


@pytest.mark.parametrize("task_id", range(11))
def test_the_first_layouts_spread_evenly_over_the_settings(task_id: int) -> None:
    names = setting_names(VA_SUITE, task_id)
    taken = select_layouts(VA_SUITE, task_id, None)
    for count in (len(names), 2 * len(names) + 1):
        shown = Counter(task_layouts(VA_SUITE, task_id)[index].setting_name for index in taken[:count])
        assert set(shown) == set(names) and max(shown.values()) - min(shown.values()) <= 1


def test_settings_choose_and_their_order_does_not_matter() -> None:
    taken = select_layouts(VA_SUITE, 0, ("darker", "base"))
    assert taken[:4] == (0, 125, 1, 126) and len(taken) == 50
    assert taken == select_layouts(VA_SUITE, 0, ("base", "darker"))


def test_names_are_those_of_the_tasks() -> None:
    assert setting_names(VM_SUITE, 3) == COLORS
    assert "no_distractor" in setting_names(VA_SUITE, 3) and "no_distractor" not in setting_names(VA_SUITE, 0)
    assert setting_names(VA_SUITE, 10)[-2:] == ("cabinet_2", "cabinet_3")
    assert setting_names("simpler_widowx", 0) == ()


@pytest.mark.parametrize(
    ("tasks", "settings", "message"),
    [
        ([0], ["bse"], r"no setting 'bse'.*base"),
        ([0], ["bedroom"], r"no setting 'bedroom'.*table_2 for these tasks"),
        ([0, 4], ["bedroom"], r"\[bedroom\]: task 0 has none of these but base, distractors_few"),
        ([0], [], "at least one name"),
        ([0], ["base", "base"], "each once"),
    ],
)
def test_wrong_settings_are_refused(tasks: list[int], settings: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_settings(VA_SUITE, tasks, settings)


def test_a_setting_of_some_tasks_is_taken_where_it_exists() -> None:
    check_settings(VA_SUITE, [0, 4], ["base", "bedroom"])
    assert len(select_layouts(VA_SUITE, 0, ("base", "bedroom"))) == 25
    assert len(select_layouts(VA_SUITE, 4, ("base", "bedroom"))) == 18


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suite=simpler_widowx", "suite.settings=[base]"], "simpler_google_vm and simpler_google_va, got"),
        (["suite=simpler_google_vm", "suite.settings=[base]"], "no setting 'base'"),
        (["suite=simpler_google_va", "suite.settings=[base]", "suite.init_indices=[0]"], "both choose layouts"),
        (["suite=simpler_widowx", "suite.first_state=2", "suite.init_indices=[0]"], "both choose states"),
        (["suite=simpler_google_vm", "suite.protocol=maniskill3"], "the tasks of simpler_widowx alone"),
    ],
)
def test_the_command_line_refuses_them(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_run([*words, "model=expert"])


def test_the_plan_takes_them_in_their_order() -> None:
    order = {0: select_layouts(VA_SUITE, 0, ("base", "darker"))}
    plan = plan_episodes(VA_SUITE, [0], 3, None, 0, "official", {0: 225}, order)
    assert [pair.init_index for pair in plan] == [0, 125, 1]
    assert len(plan_episodes(VA_SUITE, [0], None, None, 0, "official", {0: 225}, order)) == 50
    with pytest.raises(ValueError, match="task 0 has 50 layouts with these"):
        plan_episodes(VA_SUITE, [0], 51, None, 0, "official", {0: 225}, order)
