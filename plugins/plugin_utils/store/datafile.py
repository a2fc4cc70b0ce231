# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the committed data files (``data/*.json``) into dataclasses, and refuse whatever does not fit.

JSON has no comments, so the key ``about`` of each file says what it holds and where that comes from.
"""

from __future__ import annotations

import json
import re
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
K = TypeVar("K")
Row = TypeVar("Row", bound="DataclassInstance")

Sha256 = Annotated[str, re.compile(r"[0-9a-f]{64}\Z")]


class DataError(Exception):
    """A data file that cannot be used, with the place and the reason."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError if a key occurs twice: JSON would silently keep the last one."""
    keys = [key for key, _value in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} occurs twice")
    return dict(pairs)


def read(path: Path) -> dict[str, Any]:
    """A data file's object. Raises DataError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_object)
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name}: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("about"), str):
        raise DataError(f"{path.name}: it must be an object with a text `about`")
    return data


def render(data: Mapping[str, Any]) -> str:
    """A data file's text, the same for the same data."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def convert(hint: Any, value: Any, where: str) -> Any:
    """A JSON value as a field's type: lists become tuples, texts and numbers stay. Raises DataError."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if not isinstance(value, str) or not arguments[1].match(value):
            raise DataError(f"{where}: {value!r} is not a SHA-256 digest")
        return value
    if origin is tuple and isinstance(value, list):
        hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(hints) != len(value):
            raise DataError(f"{where}: {len(value)} values instead of {len(hints)}")
        places = zip(hints, value, range(len(value)), strict=True)
        return tuple(convert(one, item, f"{where}[{at}]") for one, item, at in places)
    if origin is abc.Mapping and isinstance(value, dict):
        return {key: convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if value.__class__ is not hint:  # not isinstance: in Python a bool is also an int
        raise DataError(f"{where}: {value!r} is not of the type {getattr(hint, '__name__', hint)}")
    return value


def row(kind: type[Row], value: Any, where: str) -> Row:
    """One dataclass from a JSON object. Raises DataError on a missing, unknown or mistyped field."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: not an object")
    hints = get_type_hints(kind, include_extras=True)
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    for problem, names in (("missing", needed - value.keys()), ("unknown", value.keys() - hints.keys())):
        if names:
            raise DataError(f"{where}: {problem}: {', '.join(sorted(names))}")
    return kind(**{key: convert(hints[key], item, f"{where}.{key}") for key, item in value.items()})


def rows(kind: type[Row], data: Mapping[str, Any], name: str, source: str) -> tuple[Row, ...]:
    """The rows of the list ``name`` of a data file. Raises DataError."""
    values = data.get(name)
    if not isinstance(values, list) or not values:
        raise DataError(f"{source}: {name} must be a list with at least one row")
    return tuple(row(kind, value, f"{source}: {name}[{at}]") for at, value in enumerate(values))


def mapping(kind: type[Row], data: Mapping[str, Any], name: str, source: str) -> dict[str, Row]:
    """The rows of the object ``name`` of a data file, by their keys. Raises DataError."""
    values = data.get(name)
    if not isinstance(values, dict) or not values:
        raise DataError(f"{source}: {name} must be an object with at least one row")
    return {key: row(kind, value, f"{source}: {name}.{key}") for key, value in values.items()}


def keyed(values: Iterable[T], key: Callable[[T], K]) -> dict[K, T]:
    """Rows by a key of theirs. Raises DataError if two rows have the same key."""
    found: dict[K, T] = {}
    for value in values:
        if found.setdefault(key(value), value) is not value:
            raise DataError(f"{type(value).__name__}: there are two rows for {key(value)!r}")
    return found


def text(data: Mapping[str, Any], name: str, source: str) -> str:
    """The text ``name`` of a data file. Raises DataError."""
    return str(convert(str, data.get(name), f"{source}: {name}"))
