# SPDX-License-Identifier: GPL-3.0-or-later
"""The module xinference_setup with stand-ins for Xinference's classes, but real files, databases and processes."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import ownership
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import (
    accounts as xinference_accounts,
    config as xinference_config,
    program as xinference_program,
)
from ansible_collections.voicefleet.kokoro.plugins.modules import xinference_setup
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.module_utils import xinference_stand_in

USER = pwd.getpwuid(os.getuid()).pw_name
LAUNCH = {"model_name": "Kokoro-82M", "model_type": "audio", "model_uid": "kokoro", "model_path": "/r/1"}


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return xinference_stand_in.make_release(tmp_path_factory.mktemp("release"))


class Host:
    """A host in one folder. ``run`` runs the module as this user."""

    def __init__(self, folder: Path, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.etc = folder / "etc"
        self.home = folder / "home"
        self.release = release
        # The group of the user who runs the tests, so that they need no root.
        entry = pwd.getpwuid(os.getuid())
        monkeypatch.setattr(
            xinference_program.pwd, "getpwnam", lambda _name: entry.__class__((*entry[:3], os.getgid(), *entry[4:]))
        )

    def params(self, **given: Any) -> dict[str, Any]:
        base: dict[str, Any] = dict.fromkeys(xinference_config.SECRETS)
        base.update(
            node="whole",
            release_path=str(self.release),
            user=USER,
            home=str(self.home),
            secrets_dir=str(self.etc),
            models=[LAUNCH],
            admin_user="admin",
            deploy_user="voicefleet-deploy",
            client_key_name="voicefleet-client",
            max_retries=1000,
            retry_interval=10,
        )
        return dict(base, **given)

    def run(self, check: bool = False, **given: Any) -> dict[str, Any]:
        return xinference_setup.Setup(self.params(**given), check).run()

    def secrets(self) -> dict[str, str]:
        return xinference_config.load_secrets((self.etc / "secrets.json").read_text())

    def sql(self, database: str, *statements: str) -> None:
        connection = sqlite3.connect(self.home / database)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()


@pytest.fixture
def host(tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, release, monkeypatch)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_first_run_makes_all_and_the_second_changes_nothing(host: Host) -> None:
    first = host.run()
    assert first["changed"]
    assert [line for line in first["changes"] if "created" in line] == [
        "account admin created",
        "account voicefleet-deploy created",
        "API key voicefleet-client created",
        "autostart of model kokoro created",
    ]
    second = host.run()
    assert (second["changed"], second["changes"]) == (False, [])
    assert second["diff"] == {"before": "", "after": ""}


def test_all_files_are_closed_to_others(host: Host) -> None:
    old = os.umask(0o022)
    try:
        host.run()
    finally:
        os.umask(old)
    for folder in (host.etc, host.home, host.home / "auth"):
        assert mode(folder) == 0o700
    files = [*host.etc.iterdir(), host.home / "auth" / "auth.db", host.home / "launch_history.db"]
    assert {mode(path) for path in files} == {0o600}
    assert sorted(path.name for path in host.etc.iterdir()) == [
        ".voicefleet",
        "applied.json",
        "client.header",
        "client.key",
        "secrets.json",
        "xinference.env",
    ]


def test_no_secret_in_results_arguments_or_environment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    run = xinference_program.subprocess.run

    def watched(command: list[str], **kwargs: Any) -> Any:
        seen.append((command, kwargs["env"]))
        return run(command, check=kwargs.pop("check"), **kwargs)

    monkeypatch.setattr(xinference_program.subprocess, "run", watched)
    given = {"admin_password": "operators own pass", "client_key": "sk-operators-own-key-1"}
    results = [host.run(), host.run(), host.run(**given), host.run(check=True, jwt_secret="yet-another-secret-1")]
    told = json.dumps([results, seen])
    assert seen
    for value in (*host.secrets().values(), *given.values(), "yet-another-secret-1"):
        assert value not in told


def test_the_program_runs_isolated_and_private(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    run = xinference_program.subprocess.run

    def watched(command: list[str], **kwargs: Any) -> Any:
        seen.append((command, kwargs))
        return run(command, check=kwargs.pop("check"), **kwargs)

    monkeypatch.setattr(xinference_program.subprocess, "run", watched)
    host.run()
    command, kwargs = seen[0]
    assert command[:4] == [str(host.release / "env/bin/python"), "-I", "-B", "-c"]
    assert kwargs["umask"] == 0o077
    assert kwargs["cwd"] == str(host.home)
    assert kwargs["env"]["XINFERENCE_HOME"] == str(host.home)


def test_the_program_runs_with_the_rights_of_the_services_user(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def refuse(_command: list[str], **kwargs: Any) -> Any:
        seen.update(kwargs)
        raise PermissionError("not in a test")

    monkeypatch.setattr(xinference_program.subprocess, "run", refuse)
    setup = xinference_setup.Setup(host.params(), False)
    with pytest.raises(xinference_setup.SetupError, match="cannot be run as"):
        setup.ask("observe", (4242, 4343), [])
    assert (seen["user"], seen["group"], seen["extra_groups"]) == (4242, 4343, [])


def test_an_unchanged_run_does_not_import_xinference(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()
    actions = []
    run = xinference_program.run

    def watched(request: dict[str, Any], *more: Any) -> Any:
        actions.append(request["action"])
        return run(request, *more)

    monkeypatch.setattr(xinference_program, "run", watched)
    host.run()
    assert actions == ["observe"]


def test_check_mode_on_a_bare_host_changes_nothing(host: Host, tmp_path: Path) -> None:
    result = host.run(check=True, release_path=str(tmp_path / "no release yet"))
    assert result["changed"]
    assert "account admin: missing" in result["changes"]
    assert not host.etc.exists()
    assert not host.home.exists()


def test_check_mode_reports_changes_without_making_them(host: Host) -> None:
    host.run()
    (host.etc / "client.header").unlink()
    host.sql("auth/auth.db", "UPDATE users SET enabled = 0 WHERE username = 'admin'")
    said = host.run(check=True)
    assert said["changes"] == [f"{host.etc}/client.header written (missing)", "account admin: disabled"]
    assert not (host.etc / "client.header").exists()
    assert host.run()["changes"] == [f"{host.etc}/client.header written (missing)", "account admin: enabled"]
    assert host.run(check=True)["changed"] is False


@pytest.mark.parametrize(
    ("database", "statement", "done"),
    [
        ("auth/auth.db", "DELETE FROM users WHERE username = 'admin'", "account admin created"),
        (
            "auth/auth.db",
            "UPDATE users SET password_hash = '$2b$stolen' WHERE username = 'admin'",
            "account admin: password changed, its sessions ended",
        ),
        (
            "auth/auth.db",
            "UPDATE users SET password_hash = 'rubbish' WHERE username = 'admin'",
            "account admin: password changed, its sessions ended",
        ),
        (
            "auth/auth.db",
            "INSERT INTO user_permissions SELECT id, 'admin' FROM users WHERE username = 'voicefleet-deploy'",
            "account voicefleet-deploy: permissions corrected",
        ),
        # Without foreign keys, as in sqlite3's shell, so the key's permissions stay behind.
        ("auth/auth.db", "DELETE FROM api_keys", "API key voicefleet-client created"),
        ("auth/auth.db", "UPDATE api_keys SET key_hash = 'x'", "API key voicefleet-client replaced"),
        ("auth/auth.db", "UPDATE api_keys SET enabled = 0", "API key voicefleet-client: enabled, without end"),
        ("auth/auth.db", "UPDATE api_keys SET expires_at = '2020'", "API key voicefleet-client: enabled, without end"),
        ("auth/auth.db", "UPDATE api_keys SET name = 'x'", "API key voicefleet-client renamed from x"),
        (
            "auth/auth.db",
            "UPDATE api_key_model_permissions SET permission_type = 'all', permission_value = NULL",
            "API key voicefleet-client: model permissions corrected",
        ),
        (
            "launch_history.db",
            "UPDATE launch_history SET autostart_enabled = 0",
            "autostart of model kokoro created",
        ),
        (
            "launch_history.db",
            "UPDATE launch_history SET autostart_max_retries = 3",
            "autostart of model kokoro changed",
        ),
    ],
)
def test_drift_in_the_databases_is_corrected_once(host: Host, database: str, statement: str, done: str) -> None:
    host.run()
    host.sql(database, statement)
    assert host.run()["changes"] == [done]
    assert host.run()["changed"] is False


def test_a_lost_database_is_made_again_with_the_same_secrets(host: Host) -> None:
    host.run()
    before = host.secrets()
    (host.home / "auth" / "auth.db").unlink()
    assert "API key voicefleet-client created" in host.run()["changes"]
    assert host.secrets() == before


@pytest.mark.parametrize("name", ["secrets.json", "xinference.env", "client.key", "client.header"])
def test_modes_and_contents_of_secret_files_are_corrected(host: Host, name: str) -> None:
    host.run()
    text = (host.etc / name).read_text()
    (host.etc / name).chmod(0o644)
    assert host.run()["changes"] == [f"{host.etc}/{name} written (mode 0644)"]
    assert mode(host.etc / name) == 0o600
    if name != "secrets.json":
        (host.etc / name).write_text("edited")
        assert host.run()["changes"] == [f"{host.etc}/{name} written (other content)"]
    assert (host.etc / name).read_text() == text


def test_modes_of_the_home_are_corrected(host: Host) -> None:
    host.run()
    host.home.chmod(0o755)
    (host.home / "auth" / "auth.db").chmod(0o644)
    assert host.run()["changes"] == [
        f"{host.home} made the service's own (mode 0755)",
        f"{host.home}/auth/auth.db made the service's own (mode 0644)",
    ]
    assert mode(host.home / "auth" / "auth.db") == 0o600


def test_a_database_that_is_a_link_stops_the_run(host: Host, tmp_path: Path) -> None:
    host.run()
    (host.home / "auth" / "auth.db").rename(tmp_path / "elsewhere.db")
    (host.home / "auth" / "auth.db").symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(xinference_setup.SetupError, match="not a regular file and was not touched"):
        host.run()


def test_new_secrets_of_the_operator_are_applied(host: Host) -> None:
    host.run()
    before = host.secrets()
    given = {"admin_password": "another password", "client_key": "sk-operators-own-key-1"}
    assert [line for line in host.run(**given)["changes"] if "written" not in line] == [
        "admin_password changed by the operator",
        "client_key changed by the operator",
        "account admin: password changed, its sessions ended",
        "API key voicefleet-client replaced",
    ]
    assert host.secrets() == dict(before, **given)
    assert host.run(**given)["changed"] is False
    # The operator's secrets stay even if they are no longer set.
    assert host.run()["changed"] is False


def test_a_new_encryption_key_encrypts_the_client_key_again(host: Host) -> None:
    host.run()
    assert "API key voicefleet-client replaced" in host.run(encryption_key="another-encryption-key")["changes"]
    assert host.run()["changed"] is False


def test_a_new_release_changes_only_autostart(host: Host) -> None:
    host.run()
    result = host.run(models=[dict(LAUNCH, model_path="/r/2")])
    assert result["changes"] == ["autostart of model kokoro changed"]
    assert host.run()["changes"] == ["autostart of model kokoro changed"]


def test_a_renamed_model_replaces_the_old_one(host: Host) -> None:
    host.run()
    result = host.run(models=[dict(LAUNCH, model_uid="tts")])
    assert result["changes"] == [
        "API key voicefleet-client: model permissions corrected",
        "autostart of model tts created",
        "autostart of model kokoro removed",
    ]
    assert host.run(models=[dict(LAUNCH, model_uid="tts")])["changed"] is False


def test_secrets_are_kept_if_the_run_fails_later(host: Host, tmp_path: Path) -> None:
    with pytest.raises(xinference_setup.SetupError, match="the release has no environment"):
        host.run(release_path=str(tmp_path / "none"))
    before = host.secrets()
    host.run()
    assert host.secrets() == before


def test_a_damaged_database_stops_the_run_and_is_kept(host: Host) -> None:
    host.run()
    for path in (host.home / "auth").iterdir():
        path.unlink()
    (host.home / "auth" / "auth.db").write_text("no database " * 20)
    (host.home / "auth" / "auth.db").chmod(0o600)
    with pytest.raises(xinference_setup.SetupError, match=r"cannot be read: DatabaseError.*Restore auth/"):
        host.run()
    assert (host.home / "auth" / "auth.db").read_text().startswith("no database")


def test_a_crash_of_the_program_is_reported_without_secrets(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        xinference_program,
        "program_source",
        lambda: "import sys; text = sys.stdin.read(); sys.exit('died with ' + text)",
    )
    with pytest.raises(xinference_setup.SetupError, match="ended with status 1: died with") as caught:
        host.run()
    for value in host.secrets().values():
        assert value not in str(caught.value)


def test_a_missing_user_is_reported(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_name: str) -> Any:
        raise KeyError

    monkeypatch.setattr(xinference_program.pwd, "getpwnam", none)
    with pytest.raises(xinference_setup.SetupError, match="there is no user"):
        host.run()
    assert host.run(check=True)["changed"]


def outcome(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    told.pop(
        "_ansible_new_secrets", None
    )  # ansible-core 2.22 returns secret arguments, so that the controller hides them
    return told


def module_args(host: Host, **given: Any) -> dict[str, Any]:
    return {key: value for key, value in host.params(**given).items() if value is not None}


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Restore the umask, because the module sets its own."""
    old = os.umask(0o022)
    yield
    os.umask(old)


@pytest.mark.parametrize(("candidate", "phase"), [(True, "candidate"), (False, "start")])
def test_the_phase_of_a_candidate_has_its_own_name(
    host: Host, monkeypatch: pytest.MonkeyPatch, candidate: bool, phase: str
) -> None:
    marked: list[str] = []
    monkeypatch.setattr(xinference_setup.deploy_lock, "mark", marked.append)
    with patch_module_args(module_args(host, candidate=candidate)), pytest.raises(SystemExit):
        xinference_setup.main()
    assert marked == [phase]


def candidate_of(host: Host, folder: Path, **given: Any) -> tuple[Path, Path]:
    """Secrets and home of a candidate beside a service."""
    etc, home = folder / "etc-candidate", folder / "home-candidate"
    more = {"secrets_dir": str(etc), "home": str(home), "secrets_from": str(host.etc), "candidate": True}
    more |= {"home_from": str(host.home), **given}
    assert host.secrets()["client_key"] not in json.dumps(host.run(**more))
    return etc, home


def test_a_candidate_begins_with_the_secrets_of_its_service(host: Host, tmp_path: Path) -> None:
    host.run()
    etc, _home = candidate_of(host, tmp_path, jwt_secret="j" * 32)
    found = xinference_config.load_secrets((etc / "secrets.json").read_text())
    assert found == {**host.secrets(), "jwt_secret": "j" * 32}
    assert {mode(path) for path in etc.iterdir() if path.is_file()} == {0o600}


def test_a_candidate_gets_the_keys_of_its_service_beside_both(host: Host, tmp_path: Path) -> None:
    host.run()
    host.sql("auth/auth.db", "UPDATE api_keys SET name = 'shop', key_hash = 'of the shop'")
    host.run()
    _etc, home = candidate_of(host, tmp_path)
    service, candidate = (xinference_accounts.observe(str(place))["keys"] for place in (host.home, home))
    assert sorted(candidate) == sorted(service) == ["shop", "voicefleet-client"]
    assert {name: key["hash"] for name, key in candidate.items()} == {
        name: key["hash"] for name, key in service.items()
    }
    assert mode(home / "auth" / "auth.db") == 0o600
    with sqlite3.connect(home / "auth" / "auth.db") as used:  # as the running candidate holds it
        used.execute("PRAGMA journal_mode=WAL")
        used.execute("SELECT count(*) FROM api_keys").fetchall()
        host.sql("auth/auth.db", "UPDATE api_keys SET key_hash = 'rotated' WHERE name = 'shop'")
        request = {"action": "copy", "home": str(home), "wanted": {"from": str(host.home)}}
        owner = (os.getuid(), os.getgid())
        reply = xinference_program.run(request, str(host.release), USER, owner, [])
        assert reply["observed"]["keys"] == xinference_accounts.observe(str(host.home))["keys"]
        assert ("rotated",) in used.execute("SELECT key_hash FROM api_keys").fetchall()
    # Its models stay its own.
    assert reply["observed"]["autostart"]


def test_the_module_as_ansible_runs_it(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args(module_args(host, admin_password="operators own pass")), pytest.raises(SystemExit) as ended:
        xinference_setup.main()
    assert ended.value.code == 0
    result = outcome(capsys)
    assert result["changed"]
    assert result["header_file"] == f"{host.etc}/client.header"
    assert result["cores"] >= 1
    for value in host.secrets().values():
        assert value not in json.dumps(result)


def test_an_invalid_secret_is_refused_and_not_shown(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args(module_args(host, client_key="short one")), pytest.raises(SystemExit) as ended:
        xinference_setup.main()
    assert ended.value.code == 1
    result = outcome(capsys)
    assert "client_key must be 16 to 512 characters" in result["msg"]
    assert "short one" not in json.dumps(result)


def test_all_languages_have_one_entry_and_another_model_has_its_own(host: Host) -> None:
    both: dict[str, Any] = {"languages": ["a", "b", "z"], "language_models": {"z": "Newer"}}
    result = host.run(**both)
    assert result["model_uids"] == ["kokoro", "kokoro-z"]
    assert "autostart of model kokoro-z created" in result["changes"]
    observed = xinference_accounts.observe(str(host.home))
    assert {uid: entry["launch"]["lang_code"] for uid, entry in observed["autostart"].items()} == {
        "kokoro": "a",
        "kokoro-z": "z",
    }
    assert observed["keys"]["voicefleet-client"]["models"] == [["model_id", "kokoro"], ["model_id", "kokoro-z"]]
    assert host.run(**both)["changed"] is False
    hearing: dict[str, Any] = {**both, "hearing_model": "whisper-base"}
    assert "autostart of model whisper created" in host.run(**hearing)["changes"]
    assert "autostart of model whisper removed" in host.run(**both)["changes"]
    # A model that is no longer wanted does not start again, and the key is not valid for it.
    assert "autostart of model kokoro-z removed" in host.run(languages=["a", "b", "z"])["changes"]
    observed = xinference_accounts.observe(str(host.home))
    assert list(observed["autostart"]) == ["kokoro"]
    assert observed["keys"]["voicefleet-client"]["models"] == [["model_id", "kokoro"]]


def shared(supervisor: Host) -> dict[str, str]:
    loaded: dict[str, str] = json.loads((supervisor.etc / "cluster.json").read_text())
    return loaded


def test_a_supervisor_keeps_the_secrets_that_its_workers_need(host: Host) -> None:
    host.run(node="supervisor")
    secrets = host.secrets()
    assert shared(host) == {name: secrets[name] for name in ("xoscar_auth_key", "client_key")}
    assert mode(host.etc / "cluster.json") == 0o600
    assert not host.run(node="supervisor")["changed"]


def test_a_worker_has_the_clusters_key_and_no_accounts(
    host: Host, tmp_path: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.run(node="supervisor")
    worker = Host(tmp_path / "worker", release, monkeypatch)
    (tmp_path / "worker").mkdir()
    first = worker.run(node="worker", models=[], **shared(host))
    assert "xoscar_auth_key taken from the supervisor" in first["changes"]
    assert worker.secrets() == shared(host)
    assert (worker.etc / "xinference.env").read_text().splitlines()[1:] == [
        f"XOSCAR_AUTH_KEY={shared(host)['xoscar_auth_key']}"
    ]
    assert [path.name for path in worker.home.iterdir()] == [".voicefleet"]
    assert not worker.run(node="worker", models=[], **shared(host))["changed"]
    # The secrets stay even if the supervisor is not asked.
    assert not worker.run(node="worker", models=[])["changed"]
    other = {**shared(host), "xoscar_auth_key": "another-key-of-the-cluster"}
    assert "xoscar_auth_key changed by the supervisor" in worker.run(node="worker", models=[], **other)["changes"]
    assert shared(host)["xoscar_auth_key"] not in json.dumps([first, worker.run(node="worker", models=[], **other)])


def test_a_worker_makes_no_key_of_its_own(host: Host) -> None:
    with pytest.raises(xinference_config.ConfigError, match="did not come from the supervisor"):
        host.run(node="worker", models=[])
    assert host.run(check=True, node="worker", models=[])["changed"]
    assert not (host.etc / "secrets.json").exists()


def test_folders_of_others_are_neither_closed_nor_given_away(host: Host) -> None:
    for folder in (host.etc, host.home):
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
        (folder / "precious").touch()
    for _check in (True, False):
        with pytest.raises(ownership.ForeignError, match="has no mark of this collection"):
            host.run(check=_check)
    (host.etc / ownership.MARK).touch()
    with pytest.raises(ownership.ForeignError, match=f"{host.home} holds files"):
        host.run()
    assert mode(host.home) == 0o755
    assert sorted(path.name for path in host.home.iterdir()) == ["precious"]
