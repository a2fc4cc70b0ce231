# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.state import support
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import config as xinference_config

SECRETS = {
    "xoscar_auth_key": "a1b2c3d4e5f60718293a4b5c6d7e8f90",
    "jwt_secret": "jwt-secret/with+odd=characters",
    "encryption_key": "encryption_key_0123456789",
    "admin_password": 'pass "word" of @dmin',
    "deploy_password": "deploy-password-1",
    "client_key": "xf-" + "Kk1" * 16,
}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The folders of a host. Its log, unit and drop-in contain every secret."""
    folder = tmp_path / "etc"
    folder.mkdir()
    for name, text in xinference_config.files(SECRETS).items():
        (folder / name).write_text(text)
    logs = tmp_path / "home" / "logs"
    logs.mkdir(parents=True)
    said = [f"value is {value} and {quote(value, safe='')} and {json.dumps(value)}" for value in SECRETS.values()]
    (logs / "xinference.log").write_text("\n".join(said) + "\nall is well\n")
    return tmp_path


def run(command: Sequence[str], timeout: float) -> tuple[int, str]:
    return 0, f"{' '.join(command)} says " + " ".join(SECRETS.values())


def test_no_secret_of_the_host_is_in_any_text(host: Path) -> None:
    files = support.collect(str(host / "opt"), str(host / "home"), str(host / "etc"), "x.service", run)
    for name, text in files.items():
        assert support.SAFE_NAME.fullmatch(name)
        for key, value in SECRETS.items():
            for form in (value, quote(value, safe=""), json.dumps(value)[1:-1]):
                assert form not in text, (name, key)
    assert "all is well" in files["xinference.log"]
    assert files["environment_names.txt"].splitlines() == list(xinference_config.ENVIRONMENT.values())
    assert "says" in files["journal.txt"]


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
    assert support.redact(text, []) == left


def test_secrets_are_read_from_json_environment_and_key_files() -> None:
    texts = ['{"a": "secret-one", "b": {"c": "x"}}', "# comment\nKEY=secret-two=2\n", "secret-three\n", "short"]
    assert support.values(texts) == ["KEY=secret-two=2", "secret-three", "secret-two=2", "secret-one"]


def test_texts_in_lists_and_dicts_are_redacted() -> None:
    assert support.redact_all({"a": ["my secret-one", 1, None]}, ["secret-one"]) == {"a": ["my [hidden]", 1, None]}


def test_all_texts_together_are_limited_and_the_ends_of_logs_are_kept(host: Path) -> None:
    (host / "home" / "logs" / "xinference.log").write_text("x" * 99 + "\n" + ("y" * 99 + "\n") * 30_000 + "the end\n")
    loud = "z" * 3_000_000

    files = support.collect(
        str(host / "opt"), str(host / "home"), str(host / "etc"), "x.service", lambda command, timeout: (0, loud)
    )
    assert sum(map(len, files.values())) <= support.MOST_BYTES
    log = files["xinference.log"]
    assert len(log) <= support.FILE_BYTES
    assert log.endswith("the end\n")
    assert "x" not in log.replace("xinference", "")


def test_a_link_instead_of_a_log_is_not_followed(host: Path, tmp_path: Path) -> None:
    log = host / "home" / "logs" / "xinference.log"
    log.unlink()
    (tmp_path / "shadow").write_text("root:hash")
    os.symlink(tmp_path / "shadow", log)
    files = support.collect(str(host / "opt"), str(host / "home"), str(host / "etc"), "x.service", run)
    assert files["xinference.log"].startswith("could not be read: ")
