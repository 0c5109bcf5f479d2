"""Entries of a checkpoint's JSON files, read with their kinds checked: an error names file, key, expected and got."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object.

    Attributes:
        data: its entries. where: file and the keys that lead to it, for messages, e.g. ``config.json: text_config``.
    """

    data: dict[str, Any]
    where: str

    @classmethod
    def of(cls, value: Any, where: str) -> Fields:
        """An object that was read already.

        Raises:
            ValueError: not an object.
        """
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected an object, got {_shown(value)}")
        return cls(value, where)

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def child(self, key: str) -> Fields:
        """The object under ``key``.

        Raises:
            ValueError: none there.
        """
        return Fields.of(self._get(key, "an object"), f"{self.where}: {key}")

    def items(self, key: str, count: int) -> list[Any]:
        """The list of ``count`` entries under ``key``.

        Raises:
            ValueError: none there, or of another length.
        """
        value = self._get(key, f"a list of {count}")
        if not isinstance(value, list) or len(value) != count:
            raise self._wrong(key, f"a list of {count}", value)
        return value

    def integer(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number of at least ``least``; ``default`` where the key is absent.

        Raises:
            ValueError: absent without a default, another kind, or too small.
        """
        expected = f"a whole number of at least {least}"
        value = self._get(key, expected, default)
        if not is_integer(value) or value < least:
            raise self._wrong(key, expected, value)
        return int(value)

    def positive(self, key: str, default: float | None = None) -> float:
        """A finite number above 0; ``default`` where the key is absent.

        Raises:
            ValueError: see ``integer``.
        """
        value = self._get(key, "a number above 0", default)
        if not is_number(value) or value <= 0:
            raise self._wrong(key, "a number above 0", value)
        return float(value)

    def flag(self, key: str) -> bool:
        """true or false.

        Raises:
            ValueError: absent or another kind.
        """
        value = self._get(key, "true or false")
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """``count`` finite numbers.

        Raises:
            ValueError: absent, of another length, or with something else in it.
        """
        value = self._get(key, f"{count} finite numbers")
        return numbers(value, count, f"{self.where}: {key}")

    def _get(self, key: str, expected: str, default: Any = None) -> Any:
        if key in self.data:
            return self.data[key]
        if default is None:
            raise ValueError(f"{self.where}: {key}: expected {expected}, it is not there")
        return default

    def _wrong(self, key: str, expected: str, got: Any) -> ValueError:
        return ValueError(f"{self.where}: {key}: expected {expected}, got {_shown(got)}")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FileNotFoundError: no such file. ValueError: not a JSON object.
    """
    if not file.is_file():
        raise FileNotFoundError(f"checkpoint: expected {file.name} in {file.parent}; it is not there")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"checkpoint: {file.name} is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"checkpoint: expected an object in {file.name}, got {type(data).__name__}")
    return data


def read_fields(file: Path) -> Fields:
    """See ``read_json``."""
    return Fields(read_json(file), file.name)


def numbers(value: Any, count: int, where: str) -> tuple[float, ...]:
    """A list as floats.

    Raises:
        ValueError: not ``count`` finite numbers.
    """
    if not isinstance(value, list) or len(value) != count or not all(map(is_number, value)):
        raise ValueError(f"{where}: expected {count} finite numbers, got {_shown(value)}")
    return tuple(map(float, value))


def is_number(value: Any) -> bool:
    """A finite number; true and false are none."""
    # A whole number of 400 digits is none for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and _fits(value)


def _fits(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def is_integer(value: Any) -> bool:
    """A whole number, not true or false."""
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """As it stands in the file, short."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."
