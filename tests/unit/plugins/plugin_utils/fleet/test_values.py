# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that cannot work are refused, for each variable of each role. Those that work are accepted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.action import variables
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import values

HERE = Path(__file__).parent
ROOT = HERE.parents[4]
TABLE = json.loads((HERE / "values.json").read_text(encoding="utf-8"))
KNOWN = variables.known_variables(lambda path: yaml.safe_load(Path(path).read_text(encoding="utf-8")))
OPTIONS = {name: option for role in KNOWN.values() for name, option in role.items() if option}
# No value of one line holds these.
CONTROLS = ("\n", "\r", "\0", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\nExecStartPre=+/bin/sh")
SEVERAL_LINES = {"text", "certificate", "private-key"}
ODD = [[1], {"a": 1}, True]


def wrapped(option: Mapping[str, Any], value: Any) -> Any:
    """A value of one entry as the whole value of its variable."""
    return [value] if option.get("type") == "list" else value


def bad_numbers(rule: str, kind: str) -> list[Any]:
    least, most = (float(end) for end in rule.split(".."))
    found: list[Any] = [
        least - 1,
        most + 1,
        -(10**30),
        10**30,
        "many",
        "1 2",
        "",
        "0x10",
        "1_0",
        "1\n2",
        "\u0663",
        *ODD,
    ]
    found += [float("nan"), float("inf"), "nan", "inf", *(["1.5", 1.5] if kind == "int" else [])]
    return [int(x) if isinstance(x, float) and x.is_integer() else x for x in found]


def bad_texts(name: str) -> list[Any]:
    row = TABLE["formats"][name]
    signs = ["\0", "\x1b", "\x7f"] if name in SEVERAL_LINES else CONTROLS
    return [*row["bad"], *(f"{good}{sign}" for good in map(str, row["good"]) for sign in signs), "x" * 30_001]


def bad_of(name: str, option: Mapping[str, Any]) -> Iterator[Any]:
    """Bad values of one variable, or of one entry of a list."""
    rule = values.RULES.get(name, "")
    kind = option.get("elements", "str") if option.get("type") == "list" else option.get("type", "str")
    if "choices" in option:
        yield from (wrapped(option, value) for value in ("nonsense", "", 7.5, *ODD))
    elif kind == "bool":
        yield from ("perhaps", "", 2, [], {"a": 1}, None)
    elif kind in ("int", "float"):
        yield from (wrapped(option, value) for value in bad_numbers(rule.rstrip("+"), kind))
    elif kind == "dict":
        of_key, colon, of_value = rule.partition(": ")
        if colon:
            value = [TABLE["formats"][of_value.rstrip("+")]["good"][0]] if of_value.endswith("+") else "1"
            yield from ({key: value} for key in bad_texts(of_key))
            for bad in bad_texts(of_value.rstrip("+")) if of_value != "any" else []:
                yield {TABLE["formats"][of_key]["good"][0]: [bad] if of_value.endswith("+") else bad}
    else:
        texts = [*bad_texts(rule.rstrip("+?")), *ODD]
        yield from (wrapped(option, value) for value in texts if value != option.get("default"))
    if option.get("type") == "list":
        yield from ("text", {"a": 1}, 5, None)


BAD = [
    *((name, value) for name, option in OPTIONS.items() for value in bad_of(name, option)),
    *((name, value) for name, rows in TABLE["more"].items() for value in rows),
]


def test_every_variable_has_a_rule_and_every_rule_a_variable() -> None:
    assert set(values.rules_of(OPTIONS.items())) == set(values.RULES)
    used = {part.rstrip("+?") for rule in values.RULES.values() for part in rule.split(": ") if ".." not in part}
    assert used == set(values.TABLE["formats"]) == set(TABLE["formats"])
    assert {name for name, row in values.TABLE["formats"].items() if len(row) == 1} == set(values.CHECKS)


def test_bad_values_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Each refusal is one line that names the variable. The counts are printed."""
    accepted, by_role = [], {role: [0, 0] for role in KNOWN}
    for name, value in BAD:
        found = values.problems({name: value}, OPTIONS)
        role = next(role for role in KNOWN if name in KNOWN[role])
        by_role[role][0] += bool(found)
        by_role[role][1] += 1
        if not found:
            accepted.append((name, value))
        assert all(re.match(rf"{name}\b", line) and line.isprintable() and len(line) < 500 for line in found), found
    with capsys.disabled():
        counts = [f"{role} {refused} of {tried}" for role, (refused, tried) in by_role.items() if tried]
        print(f"\nrefused {len(BAD) - len(accepted)} of {len(BAD)} bad values: {', '.join(counts)}")
    assert accepted == []


def test_a_secret_is_never_shown() -> None:
    for name, option in OPTIONS.items():
        if option.get("no_log"):
            (line,) = values.problems({name: wrapped(option, "s3cr\nt")}, OPTIONS)
            assert "s3cr" not in line
            assert "secret" in line
    nodes = [{"name": "a", "address": "b", "port": 1, "key": "s3cr$t"}]
    assert "s3cr" not in str(values.problems({"balancer_nodes": nodes}, OPTIONS))
    assert "s3cr" not in str(values.problems({"balancer_nodes": str(nodes)}, OPTIONS))
    assert "s3cr" not in str(values.problems({"synthesis_endpoint": "http://kim:s3cret@host"}, OPTIONS))


def set_in(value: Any) -> Iterator[tuple[str, Any]]:
    """The variables of roles that a YAML document sets."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key in OPTIONS and "{{" not in str(inner):
            yield key, inner
        yield from set_in(inner)
    for inner in value if isinstance(value, list) else ():
        yield from set_in(inner)


def documents() -> Iterator[tuple[Path, Any]]:
    """What the defaults, playbooks, scenarios and pages hold as YAML."""
    for folder in ("roles/*/defaults", "molecule", "playbooks", "bench"):
        for path in ROOT.glob(f"{folder}/**/*.yml"):
            # bin/collection puts a copy of all files into playbooks/collections, among them tests with bad values.
            if "collections" not in path.relative_to(ROOT).parts:
                yield path, path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md")]:
        for block in re.findall(r"```ya?ml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            yield path, block


def test_values_in_use_are_accepted() -> None:
    tried = 0
    for path, text in documents():
        try:
            loaded = list(yaml.safe_load_all(text))
        except yaml.YAMLError:
            continue  # YAML of Molecule or a part of a page
        for name, value in set_in(loaded):
            tried += 1
            assert values.problems({name: value}, OPTIONS) == [], path
    assert tried > 150


def test_defaults_are_accepted() -> None:
    given = {
        name: option["default"] for name, option in OPTIONS.items() if "{{" not in str(option.get("default", "{{"))
    }
    assert len(given) > 130
    assert values.problems(given, OPTIONS) == []


def test_good_values_are_accepted() -> None:
    for name, option in OPTIONS.items():
        rule = values.RULES.get(name, "").rstrip("+?")
        for good in TABLE["formats"].get(rule, {}).get("good", []):
            assert values.problems({name: wrapped(option, good)}, OPTIONS) == [], name
        if ".." in rule:
            for end in rule.split(".."):
                assert values.problems({name: wrapped(option, end)}, OPTIONS) in ([], list(together(name)))
    assert values.problems({"xinference_environment": dict.fromkeys("AB", 'a"b\\c%d')}, OPTIONS) == []
    assert (
        values.problems({"artifact_store_cache": None, "xinference_clients": [{"name": "a", "key": None}]}, OPTIONS)
        == []
    )


def together(name: str) -> Iterator[str]:
    """The problem of an end of a range beside the default of another variable."""
    for first, second in values.TABLE["less"].items():
        ends = {first: values.RULES[first].split("..")[1], second: values.RULES[second].split("..")[0]}
        if name in ends:
            yield from values.problems({name: ends[name]}, OPTIONS)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"xinference_replicas": 0}, "xinference_replicas: 0 is not a whole number from 1 to 64"),
        ({"gateway_body_bytes": 0}, "gateway_body_bytes: 0 is not a whole number from 1024 to 10485760"),
        ({"gateway_host": "[::]"}, "gateway_host: '[::]' is not an IP address without brackets"),
        (
            {"xinference_metrics_port": 9997},
            "xinference_metrics_port: 9997 is also xinference_port, and one port cannot serve both",
        ),
        (
            {"voicefleet_root": "/var/lib/voicefleet/"},
            "xinference_home: /var/lib/voicefleet is also voicefleet_root, and one folder cannot serve both",
        ),
        (
            {"balancer_long_bytes": 99999},
            "balancer_long_bytes: 99999 is not less than balancer_body_bytes, which is 65536",
        ),
    ],
)
def test_a_refusal_says_what_is_right(given: dict[str, Any], words: str) -> None:
    assert values.problems(given, OPTIONS) == [words]
