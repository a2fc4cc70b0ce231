# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the variables of the roles. Argument specs declare types and choices, ``data/values.toml`` everything else."""

from __future__ import annotations

import ipaddress
import math
import re
import tomllib
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...module_utils.proxy.settings import masked
from ...module_utils.xinference import config
from ..store import catalogue
from ..store.profiles import parse_profile

Option = Mapping[str, Any]
# A sentence for each part of a value that cannot be used.
Wrong = Iterator[str]

TABLE: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "data" / "values.toml").read_text(encoding="utf-8")
)
RULES: dict[str, str] = TABLE["rules"]
_RANGE = re.compile(r"([\d.]+?)\.\.([\d.]+)")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")  # between the dots of a host's name
_WEB = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!&()*+,;=%-]{1,2000}")
_PRINTED = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,2000}")
_TEXT = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]{1,10000}")
_YES_NO = ("yes", "no", "true", "false", "on", "off", "y", "n", "t", "f", "1", "0")
SHOWN = 80


def problems(values: Mapping[str, Any], options: Mapping[str, Option]) -> list[str]:
    """One sentence for each value that cannot be used. ``options`` are the documented options of all roles by name."""
    names = sorted(values.keys() & options.keys())
    found = [line for name in names for line in _wrong(name, values[name], options[name])]
    return found or list(_together(values, options))


def _sentence(place: str, value: Any, option: Option, right: str) -> str:
    return f"{place}: {'its value, which is secret,' if _secret(option) else _shown(value)} is not {right}"


def _wrong(name: str, value: Any, option: Option, rule: str = "") -> Wrong:
    kind, rule = option.get("type", "str"), rule or RULES.get(name, "")
    if value is None or value == "":
        if "." in name and value is None and not option.get("required"):
            return
        if kind in ("str", "path") and (option.get("default") == "" or rule.endswith("?")):
            return
    rule = rule.rstrip("?")
    if kind == "list":
        yield from _wrong_list(name, value, option, rule)
    elif kind == "dict" and "options" in option:
        yield from _wrong_fields(name, value, option)
    elif kind == "dict":
        yield from _wrong_entries(name, value, rule)
    elif "choices" in option:
        # YAML reads "off" and "no" as false.
        allowed = [str(choice) for choice in option["choices"]]
        if str(value) not in allowed and not (value is False and {"off", "no"} & set(allowed)):
            yield _sentence(name, value, option, "one of " + ", ".join(allowed))
    elif kind == "bool":
        if not isinstance(value, bool) and str(value).lower() not in _YES_NO:
            yield _sentence(name, value, option, "true or false")
    elif kind in ("int", "float"):
        yield from _wrong_number(name, value, option, rule)
    elif not isinstance(value, (str, int, float)) or isinstance(value, bool) or not fits(rule, str(value)):
        yield _sentence(name, value, option, TABLE["formats"][rule][0])


def _wrong_list(name: str, value: Any, option: Option, rule: str) -> Wrong:
    if not isinstance(value, (list, tuple)):
        yield _sentence(name, value, option, "a list")
    elif not value and rule.endswith("+"):
        yield _sentence(name, value, option, "a list with at least one entry")
    else:
        element = {key: option[key] for key in ("choices", "options", "no_log") if key in option}
        element = {**element, "type": option.get("elements", "str"), "required": True}
        for each in value:
            yield from _wrong(name, each, element, rule.rstrip("+"))
        field = TABLE["unique"].get(name)
        named = [str(each[field]) for each in value if isinstance(each, Mapping) and field in each] if field else []
        for twice in sorted({each for each in named if named.count(each) > 1}):
            yield f"{name}: two entries have the {field} {_shown(twice)}, and only one of them would count"


def _wrong_fields(name: str, value: Any, option: Option) -> Wrong:
    """A dictionary whose keys are documented."""
    if not isinstance(value, Mapping):
        yield _sentence(name, value, option, "a dictionary")
        return
    fields = option["options"]
    yield from (_sentence(name, key, {}, "one of " + ", ".join(fields)) for key in value if key not in fields)
    for key, field in fields.items():
        if key in value or field.get("required"):
            yield from _wrong(f"{name}.{key}", value.get(key), field)


def _wrong_entries(name: str, value: Any, rule: str) -> Wrong:
    """A dictionary with any keys of one format."""
    if not isinstance(value, Mapping):
        yield _sentence(name, value, {}, "a dictionary")
        return
    of_key, _colon, of_value = rule.partition(": ")
    for key, each in value.items():
        if not fits(of_key, str(key)):
            yield _sentence(name, key, {}, TABLE["formats"][of_key][0])
            continue
        element: Option = {"type": "list"} if of_value.endswith("+") else {}
        if of_value != "any":
            yield from _wrong(f"{name}[{key}]", str(each) if isinstance(each, bool) else each, element, of_value)


def _wrong_number(name: str, value: Any, option: Option, rule: str) -> Wrong:
    whole = option["type"] == "int"
    least, most = _RANGE.fullmatch(rule).groups()  # type: ignore[union-attr]
    pattern = r"[+-]?\d{1,18}" if whole else r"[+-]?\d{1,18}(\.\d{1,18})?([eE][+-]?\d{1,2})?"
    number = math.nan
    if not isinstance(value, bool) and re.fullmatch(pattern, str(value).strip(), re.ASCII):
        number = float(value)
    if not float(least) <= number <= float(most):
        yield _sentence(name, value, option, f"a {'whole ' if whole else ''}number from {least} to {most}")


def _together(values: Mapping[str, Any], options: Mapping[str, Option]) -> Iterator[str]:
    """Values that do not fit each other. Each alone is right."""

    def value_of(name: str) -> Any:
        return values.get(name, options.get(name, {}).get("default"))

    for subject, names in TABLE["different"].items():
        first: dict[str, str] = {}
        for name in names:
            value = str(value_of(name) or "0").rstrip("/")
            if value != "0" and first.setdefault(value, name) != name:
                yield f"{name}: {value} is also {first[value]}, and {subject} cannot serve both"
    for name, other in TABLE["less"].items():
        if name in options and int(value_of(name)) >= int(value_of(other)):
            yield f"{name}: {value_of(name)} is not less than {other}, which is {value_of(other)}"


def _secret(option: Option) -> bool:
    return bool(option.get("no_log")) or any(_secret(inner) for inner in option.get("options", {}).values())


def _shown(value: Any) -> str:
    """A value in one line, without credentials in addresses."""
    text = masked(repr(str(value) if isinstance(value, str) else value)[:2000])
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


# --- formats ----------------------------------------------------------------------------------------------------------


def fits(name: str, text: str) -> bool:
    """Whether a text has a format."""
    row = TABLE["formats"][name]
    return bool(re.fullmatch(row[1], text, re.ASCII)) if len(row) > 1 else CHECKS[name](text)


def _parses(parse: Callable[[str], object], error: type[Exception] = ValueError) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except error:
            return False
        return True

    return check


def _address(text: str) -> bool:
    # Python's own parser takes any text after a percent sign.
    return "%" not in text and _parses(ipaddress.ip_address)(text)


def _network(text: str) -> bool:
    strict = re.fullmatch(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?", text)
    return bool(strict) and _parses(lambda value: ipaddress.ip_network(value, strict=False))(text)


def _host(text: str) -> bool:
    named = len(text) <= 253 and all(map(_LABEL.fullmatch, text.split(".")))
    return _address(text) or bool(named and re.search("[A-Za-z_]", text))


def _endpoint(text: str) -> bool:
    host, _colon, port = text.rpartition(":")
    fitting = _address(host[1:-1]) if host.startswith("[") and host.endswith("]") else ":" not in host and _host(host)
    return fitting and bool(re.fullmatch(r"[0-9]{1,5}", port)) and 0 < int(port) < 65536


def _web(text: str, login: bool = False, query: bool = False, path: bool = True) -> bool:
    """Whether a request can go to an address. The rest says which parts it may have."""
    try:
        parts = urllib.parse.urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.port != 0 and _host(parts.hostname or "")
    except ValueError:
        return False
    return (
        usable
        and (login or "@" not in parts.netloc)
        and (query or not (parts.query or parts.fragment))
        and (path or parts.path in ("", "/"))
    )


def _source(text: str) -> bool:
    if not _PRINTED.fullmatch(text):
        return False
    return len(text) > len("file:///") if text.startswith("file:///") else _web(text, login=True)


def _secret_check(name: str) -> Callable[[str], bool]:
    return _parses(lambda text: config.check_secret(name, text), config.ConfigError)


CHECKS: dict[str, Callable[[str], bool]] = {
    "address": _address,
    "allowed": lambda text: text in ("any", "localhost", "link-local") or _network(text),
    "bind": lambda text: text == "*" or _address(text),
    "depot": lambda text: bool(_WEB.fullmatch(text)) and _web(text),
    "endpoint": _endpoint,
    "host": _host,
    "index": lambda text: bool(_WEB.fullmatch(text)) and _web(text, login=True),
    "key": _secret_check("client_key"),
    "language": lambda text: text in catalogue.LANGUAGES,
    "network": _network,
    "password": _secret_check("admin_password"),
    "profile": _parses(parse_profile),
    "server": lambda text: bool(_WEB.fullmatch(text)) and _web(text, path=False),
    "source": _source,
    "text": lambda text: bool(_TEXT.fullmatch(text)) and any(map(str.isalnum, text)),
    "time": _parses(config.check_time, config.ConfigError),
    "url": lambda text: bool(_WEB.fullmatch(text)) and _web(text, query=True),
}


def rules_of(options: Iterable[tuple[str, Option]]) -> Iterator[str]:
    """The names that need a rule: all options that are not a choice or a truth value, and those within them."""
    for name, option in options:
        if "options" in option:
            yield from rules_of((f"{name}.{key}", inner) for key, inner in option["options"].items())
        elif "choices" not in option and option.get("type") != "bool":
            yield name
