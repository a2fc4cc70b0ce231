# SPDX-License-Identifier: GPL-3.0-or-later
"""Every client reaches a mirror through a proxy with a password, and connections between hosts do not use it.

Host 1 is behind the Squid that inspects TLS, and serves speech. Host 2 is behind the Squid that passes TLS on. The last
tests remove what the role wrote and compare all of /etc with its state before.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.parse
from pathlib import Path

import pytest
import testinfra
from deployed import UNIT, Speaker, read_wav
from testinfra.host import Host

LAB = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
PASSWORD = 'p#a@s/s:w%zz"x$'
ENCODED = urllib.parse.quote(PASSWORD, safe="")
MIRROR = "https://vf-proxy-mirror"
RELEASE = "/opt/voicefleet/current/env/bin"
# What clients say about a wrong password. The failure PX01 matches all of these.
REFUSED = re.compile(r"407|[Pp]roxy [Aa]uthentication [Rr]equired|proxy authorization required")

# Root's login shell, without the environment of this test.
LOGIN = "env -i HOME=/root TERM=dumb bash -lc "
PYTHON = {
    "requests": f"import requests; assert 'packages' in requests.get('{MIRROR}/simple/', timeout=20).text",
    "httpx": f"import httpx; assert 'packages' in httpx.get('{MIRROR}/simple/', timeout=20).text",
    "huggingface_hub": "from huggingface_hub import hf_hub_download as get; "
    "assert 'lab' in open(get('lab/model', 'config.json', cache_dir='/tmp/hub')).read()",
    "urllib": f"import urllib.request as u; assert b'packages' in u.urlopen('{MIRROR}/simple/', timeout=20).read()",
}
# Commands by client, of the system and of the release.
CLIENTS = {
    # With --fail, curl would not report the proxy's answer.
    "curl": f"curl --silent --show-error --max-time 30 {MIRROR}/simple/ | grep packages",
    "git": f"rm -rf /tmp/repo && git clone --quiet {MIRROR}/repo.git /tmp/repo",
    "pip": "rm -rf /tmp/pip && pip download --no-cache-dir --retries 1 --no-deps --dest /tmp/pip idna",
}
OF_RELEASE = {
    "uv": f"rm -rf /tmp/uv && {RELEASE}/uv --no-cache pip install --python {RELEASE}/python --target /tmp/uv idna",
    **{name: f'{RELEASE}/python -c "{code}"' for name, code in PYTHON.items()},
}


def squid_log() -> list[str]:
    """Return the requests that the proxy got."""
    command = ["docker", "exec", "vf-proxy-squid", "cat", "/var/log/squid/access.log"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def serves(host: Host) -> bool:
    return host.backend.get_hostname() == "vf-proxy-1"


def commands(host: Host) -> dict[str, str]:
    return CLIENTS | OF_RELEASE if serves(host) else CLIENTS


def quoted(command: str) -> str:
    return "'" + command.replace("'", "'\\''") + "'"


# --- every client gets through --------------------------------------------------------------------


def test_the_mirror_is_unreachable_without_the_proxy(host: Host) -> None:
    assert host.run(f"env -i curl --silent --insecure --max-time 5 {MIRROR}/simple/").rc != 0


@pytest.mark.parametrize("client", [*CLIENTS, *OF_RELEASE])
def test_a_client_in_a_login_shell_uses_the_proxy(host: Host, client: str) -> None:
    if client not in commands(host):
        pytest.skip("not on this host: it has no release")
    host.check_output(LOGIN + quoted(commands(host)[client]))


@pytest.mark.parametrize("unit", ["vf-client", "docker"])
def test_a_unit_uses_the_proxy(host: Host, unit: str) -> None:
    """This test has its own docker.service. It shows that Docker would start with the variables."""
    host.check_output("systemctl start %s.service", unit)
    assert "packages" in host.file(f"/run/{unit}.out").content_string


def test_apt_uses_the_proxy(host: Host) -> None:
    for scheme in ("https", "http"):
        source = f"deb [trusted=yes] {scheme}://vf-proxy-mirror/apt ./"
        host.check_output(
            "rm -rf /etc/apt/sources.list.d/lab.list /tmp/apt && mkdir -p /tmp/apt && echo %s >/tmp/apt/lab.list",
            source,
        )
        host.check_output(
            "env -i PATH=$PATH apt-get --error-on=any -o Dir::Etc::SourceList=/tmp/apt/lab.list "
            "-o Dir::Etc::SourceParts=/dev/null -o Dir::State::lists=/tmp/apt update"
        )


def test_dnf_uses_the_proxy(host: Host) -> None:
    said = host.run(
        "rm -rf /var/cache/dnf && env -i PATH=$PATH dnf --assumeyes --disablerepo='*' "
        f"--setopt=skip_if_unavailable=False --repofrompath lab,{MIRROR}/dnf makecache"
    )
    assert said.rc == 0, said.stdout + said.stderr


@pytest.mark.parametrize("module", ["uri", "get_url"])
def test_a_module_of_ansible_uses_the_proxy(host: Host, module: str) -> None:
    arguments = {"uri": f"url={MIRROR}/simple/", "get_url": f"url={MIRROR}/simple/ dest=/tmp/page mode=0600 force=true"}
    wrapper = {"ansible_python_interpreter": "/etc/voicefleet-proxy/python3"}
    result = host.ansible(module, arguments[module], check=False, extra_vars=wrapper)
    assert result.get("status", result.get("status_code")) == 200, result


def test_the_controller_fetched_through_the_proxy() -> None:
    manifest = json.loads((LAB / "fetched/manifest.json").read_text())
    assert {"idna", "certifi", "click", "filelock"} <= {row["name"] for row in manifest["artifacts"]}
    # Only the port that inspects TLS sees the requests.
    gets = [line for line in squid_log() if "/200 " in line and "/wheels/idna-" in line]
    assert gets
    assert all(" kim " in line for line in gets)


# --- and nothing that should not ------------------------------------------------------------------


def test_the_service_speaks_on_loopback(host: Host, speaker: Speaker) -> None:
    if not serves(host):
        pytest.skip("it has no service")
    assert read_wav(speaker.ask().body).getframerate() == 24000


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "0.0.0.0", "vf-proxy-1"])
def test_every_client_reaches_loopback_directly(host: Host, name: str) -> None:
    if not serves(host):
        pytest.skip("it has no service")
    url = f"http://{name}:9997/v1/models"
    for code in (
        f"import requests; print(requests.get('{url}').status_code)",
        f"import httpx; print(httpx.get('{url}').status_code)",
        f"import urllib.request as u, urllib.error as e\ntry: print(u.urlopen('{url}').status)\n"
        "except e.HTTPError as x: print(x.code, x.headers.get('Server'))",
    ):
        said = host.check_output(LOGIN + quoted(f'{RELEASE}/python -c "{code}"'))
        # Without a key, the service answers 401. A proxy would answer 403 or 503.
        assert said.split()[0] in ("200", "401"), said


def test_another_host_is_reached_directly(host: Host) -> None:
    if serves(host):
        pytest.skip("it is the other host")
    url = "http://vf-proxy-1:9997/v1/models"
    assert (
        host.check_output(LOGIN + quoted(f"curl --silent --output /dev/null --write-out %{{http_code}} {url}")) == "401"
    )
    said = host.ansible(
        "uri", f"url={url} status_code=401", check=False,
        extra_vars={"ansible_python_interpreter": "/etc/voicefleet-proxy/python3"},
    )  # fmt: skip
    assert said["status"] == 401
    assert not [line for line in squid_log() if ":9997" in line]


def test_the_service_has_no_proxy_variables_and_a_pinned_hub(host: Host) -> None:
    if not serves(host):
        pytest.skip("it has no service")
    pid = host.check_output("systemctl show --property MainPID --value %s", UNIT)
    variables = host.file(f"/proc/{pid}/environ").content_string.split("\0")
    names = {line.split("=")[0] for line in variables}
    assert not {name for name in names if name.lower().endswith("_proxy")} - {"NO_PROXY", "no_proxy"}
    assert {"XINFERENCE_MODEL_SRC=huggingface", "HF_HUB_OFFLINE=1"} <= set(variables)


# --- the password ---------------------------------------------------------------------------------


def test_only_root_can_read_files_with_the_password(host: Host) -> None:
    # Pass the patterns by standard input, because the watch sees every command line, also this one.
    command = ["docker", "exec", "--interactive", host.backend.get_hostname(), "grep", "--recursive", "--text"]
    command += [
        "--files-with-matches",
        "--fixed-strings",
        "--file",
        "-",
        "/etc",
        "/var",
        "/root",
        "/home",
        "/tmp",
        "/run",
    ]
    patterns = f"{PASSWORD}\n{ENCODED}\n"
    found = subprocess.run(command, input=patterns, capture_output=True, text=True, check=False).stdout.split()
    modes = {path: (host.file(path).user, host.file(path).mode) for path in found}
    assert set(modes.values()) == {("root", 0o600)}
    assert set(modes) == {
        "/etc/voicefleet-proxy/environment",
        "/etc/voicefleet-proxy/environment.sh",
        "/etc/apt/apt.conf.d/95voicefleet-proxy",
        "/etc/dnf/dnf.conf",
    }


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/etc/voicefleet-proxy", 0o755),
        ("/etc/voicefleet-proxy/ledger.json", 0o600),
        ("/etc/voicefleet-proxy/run", 0o700),
        ("/etc/voicefleet-proxy/python3", 0o700),
        ("/etc/profile.d/voicefleet-proxy.sh", 0o644),
        ("/etc/environment", 0o644),
        ("/etc/environment.d/50-voicefleet-proxy.conf", 0o644),
        ("/etc/systemd/system.conf.d/50-voicefleet-proxy.conf", 0o644),
        ("/etc/systemd/system/vf-client.service.d/50-voicefleet-proxy.conf", 0o644),
        ("/etc/xdg/pip/pip.conf", 0o644),
        ("/etc/uv/uv.toml", 0o644),
    ],
)
def test_files_have_their_modes(host: Host, path: str, mode: int) -> None:
    file = host.file(path)
    assert (file.user, file.group, file.mode) == ("root", "root", mode)


def test_no_log_and_no_command_line_holds_the_password(host: Host) -> None:
    assert host.service("vf-watch").is_running
    watched = host.file("/run/vf-arguments.log").content_string
    # The watch saw tasks of the deploy and clients of these tests.
    assert "proxy_settings" in watched or "python3" in watched
    said = (
        watched
        + host.check_output("journalctl --no-pager --output=cat")
        + host.check_output("systemctl show-environment")
    )
    assert PASSWORD not in said
    assert ENCODED not in said


def test_other_users_get_the_proxy_without_the_password(host: Host) -> None:
    result = host.run("su --shell /bin/bash --login nobody --command %s", CLIENTS["curl"])
    assert result.rc != 0
    assert "407" in result.stderr


def test_a_session_without_login_shell_gets_the_variables_from_pam(host: Host) -> None:
    said = host.check_output("env -i su --shell /bin/sh nobody --command 'echo $https_proxy; echo $no_proxy'").split()
    assert said[0] == f"http://vf-proxy-squid:{3129 if serves(host) else 3128}"
    assert {"localhost", "127.0.0.1", "vf-proxy-1", "vf-proxy-2"} <= set(said[1].split(","))


# --- problems are named ---------------------------------------------------------------------


@pytest.mark.parametrize("client", [*CLIENTS, *OF_RELEASE])
def test_each_client_names_a_wrong_password(host: Host, client: str) -> None:
    if client not in commands(host):
        pytest.skip("not on this host: it has no release")
    port = 3129 if serves(host) else 3128
    wrong = (
        f"export https_proxy=http://kim:wrong@vf-proxy-squid:{port}; export HTTPS_PROXY=$https_proxy; rm -rf /tmp/hub; "
    )
    result = host.run(LOGIN + quoted(wrong + commands(host)[client]))
    assert result.rc != 0
    assert REFUSED.search(result.stdout + result.stderr), result.stdout + result.stderr


def play(name: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook of this scenario with the most output."""
    scenario = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
    command = ["ansible-playbook", "-vvv", "--diff", "-i", os.environ["MOLECULE_INVENTORY_FILE"], str(scenario / name)]
    return subprocess.run([*command, *more], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            {"proxy_password": "wr#ng"},
            "PROXY_AUTH: the proxy vf-proxy-squid:3128 rejects the password of 'kim'",
        ),
        ({"proxy_http": "http://vf-proxy-squid:3"}, "PROXY_DEAD: the proxy vf-proxy-squid:3 does not answer"),
        (
            {"proxy_http": f"http://kim:{ENCODED}@vf-proxy-squid:3128"},
            "Set proxy_username and proxy_password instead",
        ),
    ],
)
def test_the_role_reports_the_problem_and_changes_nothing(setting: dict[str, object], words: str) -> None:
    done = play("role.yml", "--extra-vars", json.dumps(setting))
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert words in said.replace("\\n", "\n")
    assert "changed=0" in said
    assert "wr#ng" not in said
    assert PASSWORD not in said


def test_a_fetch_reports_the_problem() -> None:
    forgotten = LAB / "downloads-empty"
    settings = {"proxy_password": "wr#ng", "artifact_store_cache": str(forgotten), "fetched": str(LAB / "never")}
    done = play("fetch.yml", "--extra-vars", json.dumps(settings))
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert "rejects the password of 'kim' (407)" in said
    assert "wr#ng" not in said
    assert not (LAB / "never/manifest.json").exists()


def test_the_most_verbose_run_does_not_show_the_password() -> None:
    done = play("role.yml", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    assert ENCODED not in done.stdout + done.stderr


# --- removal -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other() -> Host:
    """Return host 2. Tests with `host` would run before all others."""
    return testinfra.get_host("ansible://vf-proxy-2", ansible_inventory=os.environ["MOLECULE_INVENTORY_FILE"])


def test_absent_removes_exactly_what_was_written(other: Host) -> None:
    done = play("role.yml", "--extra-vars", "proxy_state=absent")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=1" in done.stdout
    now = other.check_output("find /etc -printf '%p %y %m %U:%G %l\\n' | LC_ALL=C sort")
    before = other.check_output("LC_ALL=C sort /root/etc.list")
    assert now.splitlines() == before.splitlines()
    assert other.run("sha256sum --check --quiet /root/etc.sums").stdout == ""
    assert "proxy" not in other.check_output("systemctl show-environment").lower()
    assert "changed=0" in play("role.yml", "--extra-vars", "proxy_state=absent").stdout


def test_a_missing_ca_is_reported() -> None:
    """The removal before this test took the CA from host 2."""
    done = play("role.yml", "--extra-vars", json.dumps({"proxy_ca_certificates": []}))
    assert done.returncode == 2
    assert "UNKNOWN_ISSUER: the certificate of vf-proxy-mirror" in done.stdout + done.stderr
    assert "changed=0" in done.stdout
