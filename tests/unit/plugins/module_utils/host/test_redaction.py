# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import time
import warnings
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import redaction
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host.redaction import MOST_LINE, Redactor, values
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils import secret_shapes

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import sre_parse

KNOWN = ("a1b2c3d4e5f60718293a4b5c6d7e8f90", 'pass "word" of @dmin/\u00e9', "it's & <that>?", "xf-" + "Kk1" * 16)
# What the patterns repeat, over and over.
HOSTILE = (
    "token-", "password=", "password: x ", "password=a b=", "://a:", "://", "@", "'", '"password": {', "eyJ", "a:b",
    "curl -", "bearer ", "-u a", "\\", ">a", "sk-", "mysql -", "%3A%2F%2F", "M.M-", "--password ", "setenv a-", "$6$",
    "<token>a</", "login x password ", "-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----", "token=[", "SG.a",
    "password: |\n", "secret:\n ", "-----BEGIN PRIVATE KEY-----\n", "-----END PRIVATE KEY-----\n", "$ANSIBLE_VAULT;\n",
    "6f1c1a52-9f0e-4f3e-9a53-5d2b8a1e7c11 ", "Zx81kQ77Lm2_", "A", '\\"', "1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("proxy http://kim:pa%40ss@proxy:3128/", "proxy http://[hidden]@proxy:3128/"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [hidden]"),
        ("key xf-0123456789abcdefABCDEF is bad", "key [hidden] is bad"),
        ("token eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl used", "token [hidden] used"),
        ('{"admin_password": "short", "user": "kim"}', '{"admin_password": [hidden], "user": "kim"}'),
        ("Environment=MY_API_KEY=abc OTHER=1", "Environment=MY_API_KEY=[hidden] OTHER=1"),
        ("$2b$12$" + 53 * "a", "[hidden]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[hidden]"),
        ("Kokoro is READY on 127.0.0.1:9997", "Kokoro is READY on 127.0.0.1:9997"),
    ],
)
def test_everything_that_looks_like_a_secret_is_removed(text: str, left: str) -> None:
    assert Redactor().text(text) == left


def test_secrets_are_read_from_json_environment_and_key_files() -> None:
    texts = ['{"a": "secret-one", "b": {"c": "x"}}', "# comment\nKEY=secret-two=2\n", "secret-three\n", "short"]
    assert values(texts) == ["KEY=secret-two=2", "secret-three", "secret-two=2", "secret-one"]


def test_texts_in_lists_and_dicts_are_redacted() -> None:
    assert Redactor(["secret-one"]).all({"a": ["my secret-one", 1, None]}) == {"a": ["my [hidden]", 1, None]}


def test_no_shape_of_the_table_leaks() -> None:
    shapes = secret_shapes.shapes()
    leaked = {
        what: Redactor().text(text)
        for what, (text, secrets) in shapes.items()
        if any(secret_shapes.leaks(secret, Redactor().text(text)) for secret in secrets)
    }
    print(f"secret shapes: {len(shapes)} tried, {len(leaked)} leaked")
    assert not leaked
    assert len(shapes) >= 60


def test_each_shape_of_the_table_has_a_secret_that_its_text_shows() -> None:
    for what, (text, secrets) in secret_shapes.shapes().items():
        assert secrets, what
        assert all(secret_shapes.leaks(secret, text) for secret in secrets), what


@pytest.mark.parametrize("line", secret_shapes.readable())
def test_ordinary_text_stays_readable(line: str) -> None:
    assert Redactor(KNOWN).text(line) == line


@pytest.mark.parametrize("secret", KNOWN)
def test_a_known_secret_leaks_in_no_usual_encoding(secret: str) -> None:
    encoded = secret_shapes.encodings(secret)
    for name, text in encoded.items():
        left = Redactor(KNOWN).known(f"value {text} end")
        assert (left[:6], left[-4:]) == ("value ", " end")
        assert not any(text[place : place + 6] in left for place in range(3, len(text) - 9)), (name, left)


def test_a_known_secret_is_removed_even_across_the_cut_of_a_long_line() -> None:
    line = "x" * (MOST_LINE - 10) + KNOWN[0] + "y" * 99
    left = Redactor(KNOWN).text(f"{line}\nnext\n")
    assert KNOWN[0][:8] not in left
    assert left.endswith(" more characters]\nnext\n")


def test_half_a_secret_at_the_cut_of_a_long_line_is_removed() -> None:
    left = Redactor().text("x " * (MOST_LINE // 2 - 5) + "ghp_" + "Zx81kQ77Lm2" * 4)
    assert "ghp_" not in left


def test_a_key_that_announces_a_secret_hides_its_value() -> None:
    facts = {"admin_password": "hunter2", "api_key_file": "/etc/voicefleet/client.key", "token": None, "state": "READY"}
    assert Redactor().all(facts) == {**facts, "admin_password": "[hidden]"}


def patterns() -> list[re.Pattern[str]]:
    found = [value for value in vars(redaction).values() if isinstance(value, re.Pattern)]
    return [*found, *(pattern for _hints, pattern in redaction._SHAPES)]


def test_every_repeat_of_every_pattern_has_a_bound() -> None:
    def unbounded(tree: Any) -> bool:
        if isinstance(tree, tuple) and len(tree) == 3 and tree[1] is sre_parse.MAXREPEAT:
            return True
        return isinstance(tree, (list, tuple, sre_parse.SubPattern)) and any(map(unbounded, tree))

    assert len(patterns()) > 50
    assert [
        pattern.pattern for pattern in patterns() if unbounded(sre_parse.parse(pattern.pattern, pattern.flags))
    ] == []


def work(text: str) -> float:
    began = time.process_time()
    Redactor().text(text)
    return time.process_time() - began


def test_hostile_text_takes_not_much_more_steps_than_ordinary_text_of_its_length() -> None:
    ordinary = "\n".join(secret_shapes.readable()) + "\n"
    usual = work(ordinary * (60_000 // len(ordinary)))
    for part in HOSTILE:
        one_line = part.replace("\n", " ") * (1_000_000 // len(part))
        assert work(one_line) < 40 * usual, part
        line = part * (30_000 // len(part)) + "\n"
        assert work(line * 2) < 20 * usual, part
