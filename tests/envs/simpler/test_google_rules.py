"""Success rules of the Google robot tasks, every clause apart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from runners.envs.simpler.google_rules import (
    Body,
    NearFlags,
    PickFlags,
    PlaceFlags,
    drawer_flags,
    half_diagonal,
    near_flags,
    pick_flags,
    place_flags,
)


def pick(flags: PickFlags, grasped: bool, touches_scene: bool, rise: float, steps: int = 1) -> PickFlags:
    for _ in range(steps):
        flags = pick_flags(flags, grasped=grasped, touches_scene=touches_scene, rise=rise)
    return flags


class TestPick:
    def test_in_the_air_is_success_without_a_grasp(self) -> None:
        assert pick(PickFlags(), grasped=False, touches_scene=False, rise=0.011).success

    def test_neither_low_nor_touching(self) -> None:
        assert not pick(PickFlags(), grasped=True, touches_scene=False, rise=0.0099).success
        assert not pick(PickFlags(), grasped=True, touches_scene=True, rise=0.1).success

    def test_a_touch_after_the_lift_does_not_undo_it_while_grasped(self) -> None:
        lifted = pick(PickFlags(), grasped=True, touches_scene=False, rise=0.05)
        assert pick(lifted, grasped=True, touches_scene=True, rise=0.005).success
        assert not pick(lifted, grasped=False, touches_scene=True, rise=0.005).success

    @pytest.mark.parametrize(("steps", "succeeds"), [(4, False), (5, True)])
    def test_five_clear_steps_survive_putting_it_down(self, steps: int, succeeds: bool) -> None:
        lifted = pick(PickFlags(), grasped=True, touches_scene=False, rise=0.021, steps=steps)
        assert pick(lifted, grasped=False, touches_scene=True, rise=0.0, steps=9).success is succeeds

    def test_low_lifts_do_not_count_as_clear(self) -> None:
        lifted = pick(PickFlags(), grasped=True, touches_scene=False, rise=0.019, steps=9)
        assert lifted.num_lifted_well == 0
        assert not pick(lifted, grasped=False, touches_scene=True, rise=0.0).success

    def test_consecutive_grasp_needs_five_steps_in_a_row(self) -> None:
        held = pick(PickFlags(), grasped=True, touches_scene=True, rise=0.0, steps=4)
        assert not held.consecutive_grasp
        assert pick(held, grasped=True, touches_scene=True, rise=0.0).consecutive_grasp
        broken = pick(held, grasped=False, touches_scene=True, rise=0.0)
        assert not pick(broken, grasped=True, touches_scene=True, rise=0.0, steps=4).consecutive_grasp


def body(x: float, y: float, z: float = 0.9, *, at: tuple[float, float, float] = (0, 0, 0.9)) -> Body:
    position = np.array([x, y, z])
    return Body(origin=position, center=position, settled=np.array(at), half_diagonal=0.04)


class TestNear:
    """Source moved by 20 cm to within 10 cm of the target; the other object is far off and rests."""

    source = body(0.20, 0.0)
    target = body(0.30, 0.0, at=(0.30, 0.0, 0.9))
    other = body(0.0, 0.5, at=(0.0, 0.5, 0.9))

    def flags(self, source: Body | None = None, target: Body | None = None, other: Body | None = None) -> NearFlags:
        return near_flags(source or self.source, target or self.target, [other or self.other])

    def test_all_clauses_hold(self) -> None:
        assert self.flags() == NearFlags(True, True, False, True, True)
        assert self.flags().success

    def test_other_object_sank(self) -> None:
        assert self.flags(other=replace(self.other, origin=np.array([0.0, 0.5, 0.881]))).success
        assert not self.flags(other=replace(self.other, origin=np.array([0.0, 0.5, 0.879]))).success

    @pytest.mark.parametrize("which", ["source", "target"])
    def test_own_object_fell_off(self, which: str) -> None:
        own: Body = getattr(self, which)
        low = replace(own, center=own.center - [0, 0, 0.151])
        assert not self.flags(**{which: low}).all_obj_keep_height
        # The centre of mass counts, not the origin.
        assert self.flags(**{which: replace(own, origin=own.origin - [0, 0, 0.3])}).all_obj_keep_height

    def test_source_hardly_moved(self) -> None:
        near = replace(self.target, origin=np.array([0.1, 0, 0.9]), center=np.array([0.1, 0, 0.9]))
        still = self.flags(source=body(0.029, 0.0), target=replace(near, settled=near.origin))
        assert not still.moved_correct_obj and not still.success

    def test_another_object_moved_farther(self) -> None:
        flags = self.flags(other=body(0.0, 0.5, at=(0.0, 0.71, 0.9)))
        assert not flags.moved_correct_obj and flags.moved_wrong_obj and not flags.success

    def test_too_far_from_the_target(self) -> None:
        assert self.flags(source=body(0.121, 0.0)).near_tgt_obj
        assert not self.flags(source=body(0.119, 0.0)).near_tgt_obj

    def test_another_object_is_closer(self) -> None:
        closer = body(0.115, 0.0, at=(0.115, 0.0, 0.9))
        assert not self.flags(other=closer).is_closest_to_tgt
        assert self.flags(other=body(0.109, 0.0, at=(0.109, 0.0, 0.9))).is_closest_to_tgt

    def test_no_third_object(self) -> None:
        assert near_flags(self.source, self.target, []).success


def test_half_diagonal_turns_the_vector_of_extents() -> None:
    """Not the box: with the signed product a quarter turn swaps entries, an eighth can shorten them to one."""
    assert half_diagonal(np.eye(3), (0.06, 0.08, 1.0)) == pytest.approx(0.05)
    turn = math.pi / 4
    eighth = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    assert half_diagonal(eighth, (0.06, 0.08, 1.0)) == pytest.approx(0.05)
    tipped = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    assert half_diagonal(tipped, (0.06, 1.0, 0.08)) == pytest.approx(0.05)


class TestDrawer:
    @pytest.mark.parametrize(("qpos", "succeeds"), [(0.1499, False), (0.15, True), (0.3, True)])
    def test_open(self, qpos: float, succeeds: bool) -> None:
        assert drawer_flags(qpos, opens=True).success is succeeds

    @pytest.mark.parametrize(("qpos", "succeeds"), [(0.0501, False), (0.05, True), (0.0, True)])
    def test_close(self, qpos: float, succeeds: bool) -> None:
        assert drawer_flags(qpos, opens=False).success is succeeds


class TestPlace:
    def place(self, flags: PlaceFlags, qpos: float, touches: bool, second: bool) -> PlaceFlags:
        return place_flags(flags, qpos=qpos, touches_bottom=touches, second_subtask=second)

    def test_a_touch_is_remembered(self) -> None:
        touched = self.place(PlaceFlags(), 0.2, touches=True, second=True)
        assert touched.success
        assert self.place(touched, 0.2, touches=False, second=True).success

    def test_each_clause_is_needed(self) -> None:
        assert not self.place(PlaceFlags(), 0.2, touches=False, second=True).success
        assert not self.place(PlaceFlags(), 0.2, touches=True, second=False).success
        assert not self.place(PlaceFlags(), 0.049, touches=True, second=True).success
        assert self.place(PlaceFlags(), 0.05, touches=True, second=True).success

    def test_the_flag_of_the_open_drawer_asks_for_more_than_success(self) -> None:
        assert not self.place(PlaceFlags(), 0.149, touches=True, second=True).is_drawer_open
        assert self.place(PlaceFlags(), 0.15, touches=True, second=True).is_drawer_open

    def test_closing_the_drawer_at_the_end_undoes_it(self) -> None:
        done = self.place(PlaceFlags(), 0.2, touches=True, second=True)
        assert not self.place(done, 0.01, touches=True, second=True).success
