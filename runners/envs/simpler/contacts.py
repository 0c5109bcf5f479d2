"""Questions about the contacts at the end of a control step."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import sapien
from numpy.typing import NDArray
from sapien import physx

#: N s; a smaller impulse is none.
MIN_IMPULSE = 1e-6


def impulse_of(contact: physx.PhysxContact) -> NDArray[np.float64]:
    """Sum over the points of one contact, float64[3], N s, on its first body."""
    return np.sum([point.impulse for point in contact.points], axis=0, dtype=np.float64) * np.ones(3)


def impulse_on(
    contacts: Sequence[physx.PhysxContact], entity: sapien.Entity, other: sapien.Entity
) -> NDArray[np.float64]:
    """Impulse float64[3] (N s, world frame) of ``other`` on ``entity`` in the last physics step."""
    total = np.zeros(3)
    for contact in contacts:
        first, second = (body.entity for body in contact.bodies)
        if first == entity and second == other:
            total += impulse_of(contact)
        elif first == other and second == entity:
            total -= impulse_of(contact)
    return total


def touches_others(contacts: Sequence[physx.PhysxContact], entity: sapien.Entity, allowed: Collection[str]) -> bool:
    """Whether ``entity`` touches anything whose name is not in ``allowed``."""
    for contact in contacts:
        first, second = (body.entity for body in contact.bodies)
        if entity not in (first, second):
            continue
        other = second if first == entity else first
        if other.name not in allowed and np.linalg.norm(impulse_of(contact)) > MIN_IMPULSE:
            return True
    return False


def angle_degrees(direction: NDArray[np.float64], vector: NDArray[np.float64]) -> float:
    """Angle between two vectors; 90 degrees when one has no length."""
    lengths = float(np.linalg.norm(direction) * np.linalg.norm(vector))
    if lengths == 0:
        return 90.0
    return float(np.degrees(np.arccos(np.clip(direction @ vector / lengths, -1.0, 1.0))))
