# SPDX-License-Identifier: GPL-3.0-or-later
"""Read JSON into dataclasses, and refuse whatever does not fit: committed data (``data/*.json``), manifests, lists.

JSON has no comments, so the key ``about`` of each committed file says what it holds and where that comes from.
"""

from __future__ import annotations

import functools
import json
import re
import reprlib
from collections import Counter, abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ...module_utils.host.hashing import read_bounded

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
K = TypeVar("K")
Row = TypeVar("Row", bound="DataclassInstance")

# A type, a check of a value, and what the value must be, in words.
Sha256 = Annotated[str, re.compile(r"[0-9a-f]{64}\Z").match, "a SHA-256 digest"]
Count = Annotated[int, lambda number: 0 <= number < 1 << 53, "a number of 0 or more"]

_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = 200


class DataError(Exception):
    """A file that cannot be used, with the place and the reason."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError if a key occurs twice: JSON would silently keep the last one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = sorted(key for key, times in Counter(key for key, _value in pairs).items() if times > 1)
        raise ValueError(f"{', '.join(map(_name, twice[:9]))} occurs twice")
    return found


def parse(data: bytes) -> Any:
    """The value of some JSON. Raises DataError."""
    try:
        return json.loads(data, object_pairs_hook=_object)
    except RecursionError:
        raise DataError("it is nested too deeply") from None
    except ValueError as error:
        raise DataError(str(error)) from error


def read(path: Path) -> dict[str, Any]:
    """A data file's object. Raises DataError."""
    try:
        data = parse(read_bounded(str(path)))
    except (OSError, DataError) as error:
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
        if value.__class__ is not arguments[0] or not arguments[1](value):
            raise DataError(f"{where}: {_shortened.repr(value)} is not {arguments[2]}")
        return value
    if origin in (Union, UnionType):  # only "or None"
        return None if value is None else convert(arguments[0], value, where)
    if is_dataclass(hint):
        return row(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list):
        hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(hints) != len(value):
            raise DataError(f"{where}: {len(value)} values instead of {len(hints)}")
        places = zip(hints, value, range(len(value)), strict=True)
        return tuple(convert(one, item, f"{where}[{at}]") for one, item, at in places)
    if origin in (dict, abc.Mapping) and isinstance(value, dict):
        return {key: convert(arguments[1], item, f"{where}.{_name(key)}") for key, item in value.items()}
    if value.__class__ is not hint:  # not isinstance: in Python a bool is also an int
        raise DataError(f"{where}: {_shortened.repr(value)} is not of the type {getattr(hint, '__name__', hint)}")
    return value


def _name(key: str) -> str:
    """A key as a message shows it."""
    return key if key.isprintable() and len(key) <= 200 else _shortened.repr(key)


_hints = functools.cache(functools.partial(get_type_hints, include_extras=True))


def row(kind: type[Row], value: Any, where: str) -> Row:
    """One dataclass from a JSON object. Raises DataError on a missing, unknown or mistyped field."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: not an object")
    hints = _hints(kind)
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    for problem, names in (("missing", needed - value.keys()), ("unknown", value.keys() - hints.keys())):
        if names:
            raise DataError(f"{where}: {problem}: {', '.join(map(_name, sorted(names)[:9]))}")
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
