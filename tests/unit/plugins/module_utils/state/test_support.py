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


def test_the_secrets_of_every_part_of_the_collection_are_known(tmp_path: Path) -> None:
    files = {
        "etc/voicefleet-candidate/secrets.json": '{"client_key": "of-the-candidate"}',
        "etc/voicefleet-worker/xinference.env": "XOSCAR_AUTH_KEY=of-the-worker\n",
        "etc/voicefleet/cluster.json": '{"client_key": "of-the-cluster"}',
        "etc/voicefleet-gateway/server.key": "-----BEGIN PRIVATE KEY-----\nof/the/gateway\n-----END PRIVATE KEY-----\n",
        "etc/voicefleet-gateway/ca.key": "of/the/authority\n",
        "etc/voicefleet-balancer/keys.cfg": 'global\n    setenv VOICEFLEET_KEY_1 "of-the-balancer"\n',
        "etc/voicefleet-proxy/environment": "HTTP_PROXY=http://kim:of%20the%20proxy@proxy:3128/\n",
        "etc/dnf/dnf.conf": "[main]\nproxy_username=kim\nproxy_password=of the proxy of dnf\n",
        "mine/keys/shop.key": "of-the-shop\n",
        "mine/keys/radio.header": "Authorization: Bearer of-the-radio\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "mine" / "client.key").symlink_to("keys/shop.key")
    os.mkfifo(tmp_path / "mine" / "keys" / "waits.key")

    found = support.secrets_of(str(tmp_path / "mine"), str(tmp_path))

    for name in ("candidate", "worker", "cluster", "balancer", "shop", "radio"):
        assert f"of-the-{name}" in found
    for value in ("of/the/gateway", "of/the/authority", "of the proxy", "of%20the%20proxy", "of the proxy of dnf"):
        assert value in found
    assert not {"global", "kim", "Bearer", "[main]", "proxy:3128/"} & set(found)


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
