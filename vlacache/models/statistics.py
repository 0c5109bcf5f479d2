"""Statistics of the training data, which scale actions and proprioception."""

from __future__ import annotations

from pathlib import Path

from vlacache.models.fields import Fields, numbers, read_fields

#: Replaces the config's ``norm_stats`` where it is there.
STATISTICS_FILE = "dataset_statistics.json"

Bounds = tuple[tuple[float, ...], tuple[float, ...], tuple[bool, ...]]


def read_statistics(folder: Path, config: Fields) -> Fields:
    """Statistics by data set, of the folder's file or of ``norm_stats`` in its ``config.json``.

    Raises:
        ValueError: neither is there.
    """
    if (folder / STATISTICS_FILE).is_file():
        return read_fields(folder / STATISTICS_FILE)
    if not config.data.get("norm_stats"):
        raise ValueError(f"{folder.name}: expected norm_stats in config.json or a {STATISTICS_FILE}, got neither")
    return config.child("norm_stats")


def select_statistics(statistics: Fields, unnorm_key: str | None) -> tuple[str, Fields]:
    """The statistics of a data set and their key.

    Args:
        unnorm_key: the key, or a suite whose key is ``<suite>_no_noops``; None where there is only one.

    Raises:
        ValueError: no such key, or none given and several there.
    """
    if unnorm_key is None:
        if len(statistics.data) == 1:
            (key,) = statistics
            return key, statistics.child(key)
        raise ValueError(f"model.unnorm_key: expected one of {sorted(statistics)}, got None")
    for key in (unnorm_key, f"{unnorm_key}_no_noops"):
        if key in statistics:
            return key, statistics.child(key)
    raise ValueError(
        f"model.unnorm_key: expected one of {sorted(statistics)} (the data sets of this checkpoint), got {unnorm_key!r}"
    )


def read_bounds(statistics: Fields, kind: str, dim: int) -> Bounds:
    """1 % and 99 % quantiles and the mask (empty: all) of ``action`` or ``proprio``.

    Raises:
        ValueError: missing, of another size, not finite numbers, or a low quantile above the high one.
    """
    own = statistics.child(kind)
    low, high = (numbers(own.data.get(name), dim, f"{own.where}: {name}") for name in ("q01", "q99"))
    mask = own.data.get("mask") or []
    if not isinstance(mask, list) or len(mask) not in (0, dim) or not all(isinstance(entry, bool) for entry in mask):
        raise ValueError(f"{own.where}: mask: expected {dim} times true or false, or none, got {mask!r}")
    for i, (lower, upper) in enumerate(zip(low, high, strict=True)):
        if lower > upper:
            raise ValueError(f"{own.where}: expected q01 of at most q99, got q01={lower} and q99={upper} at index {i}")
    return low, high, tuple(mask)
