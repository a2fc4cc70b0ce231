# SPDX-License-Identifier: GPL-3.0-or-later
"""Random values for the templates: a value is refused, or the program that reads the file accepts it."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import balancer
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import packet_filter
from ansible_collections.voicefleet.kokoro.plugins.plugin_utils.fleet import service, values
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet import test_gpu, test_preflight
from ansible_collections.voicefleet.kokoro.tests.unit.plugins.plugin_utils.fleet.test_values import OPTIONS, TABLE
from hypothesis import given, settings, strategies as st

pytestmark = pytest.mark.usefixtures("ansible_plugins")

ROLES = Path(__file__).resolve().parents[3] / "roles"
# Each example renders a file and starts a program.
FEW = settings(max_examples=settings().max_examples // 10)
PLAN = test_preflight.judge(test_gpu.BOTH).plan


@functools.cache
def defaults(role: str) -> dict[str, Any]:
    loader, found = DataLoader(), {}
    for each in ("settings", role):
        for file in ("defaults/main.yml", "vars/main.yml"):
            found.update(loader.load_from_file(str(ROLES / each / file), trusted_as_template=True) or {})
    return found


def rendered(role: str, template: str, given_values: dict[str, Any], **more: Any) -> str:
    variables = {
        **defaults(role),
        "voicefleet_plan": PLAN,
        "__xinference_setup": {"cores": 8, "environment_file": "/etc/voicefleet/xinference.env"},
        "groups": {"all": []},
        "hostvars": {},
        **given_values,
        **more,
    }
    variables["voicefleet_service"] = service.whole(variables, "speaker").as_dict()
    path = ROLES / role / "templates" / template
    source = trust_as_template(f"{{{{ lookup('ansible.builtin.template', '{path}') }}}}")
    return str(Templar(loader=DataLoader(), variables=variables).template(source))


def in_template(role: str, template: str) -> list[str]:
    """The documented variables that a template reads."""
    text = (ROLES / role / "templates" / template).read_text(encoding="utf-8")
    return sorted(name for name in OPTIONS if name in values.RULES and re.search(rf"\b{name}\b", text))


HOSTILE = st.text(alphabet=" ;{}\"'\\%$#\n\t\r=[]:/!*a0-,\u00e4", min_size=1, max_size=8)


def texts(name: str) -> st.SearchStrategy[Any]:
    """Good texts of a format, random ones that its pattern allows, and hostile ones."""
    good = st.sampled_from(TABLE["formats"][name]["good"] or [""])
    row = values.TABLE["formats"][name]
    allowed = [st.from_regex(re.compile(row[1], re.ASCII), fullmatch=True)] if len(row) > 1 and name != "any" else []
    return st.one_of(good, *allowed, st.builds(lambda text, more: f"{text}{more}", good, HOSTILE), HOSTILE)


def value_of(name: str) -> st.SearchStrategy[Any]:
    rule = values.RULES[name].rstrip("?")
    if ".." in rule:
        least, most = (int(end) for end in rule.split(".."))
        one: st.SearchStrategy[Any] = st.integers(least, most)
    elif ": " in rule:
        keys, of_values = rule.split(": ")
        inner = texts(of_values.rstrip("+"))
        several = st.lists(inner, max_size=3) if of_values.endswith("+") else inner
        return st.dictionaries(texts(keys), several, max_size=3)
    else:
        one = texts(rule.rstrip("+"))
    return st.lists(one, max_size=3) if OPTIONS[name].get("type") == "list" else one


def one_value(role: str, template: str) -> st.SearchStrategy[dict[str, Any]]:
    """A random value of one variable of a template."""
    names = in_template(role, template)
    return st.sampled_from(names).flatmap(lambda name: value_of(name).map(lambda value: {name: value}))


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr if done.returncode else ""


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


UNIT = ("xinference", "voicefleet-xinference.service.j2")
BALANCER_UNIT = ("balancer", "voicefleet-balancer.service.j2")
GATEWAY = ("gateway", "voicefleet.conf.j2")
BALANCER = ("balancer", "haproxy.cfg.j2")
NETWORKS = ("xinference_allowed_networks", "xinference_metrics_networks")


@functools.cache
def plain(role: str, template: str) -> list[str]:
    return directives(rendered(role, template, {}))


def directives(unit: str) -> list[str]:
    """The names of a unit's directives, without those that a list repeats."""
    lines = re.sub(r"\\\n", " ", unit).splitlines()
    names = [line.partition("=")[0] for line in lines if line and not line.startswith("#")]
    return sorted({*names} - {"Environment", "DeviceAllow"})


@pytest.mark.hypothesis
@needs("systemd-analyze")
@pytest.mark.parametrize("which", [UNIT, BALANCER_UNIT], ids=lambda pair: pair[0])
def test_systemd_reads_every_unit(tmp_path_factory: pytest.TempPathFactory, which: tuple[str, str]) -> None:
    folder = tmp_path_factory.mktemp("unit")

    @FEW
    @given(one_value(*which))
    def judge(value: dict[str, Any]) -> None:
        if values.problems(value, OPTIONS):
            return
        unit = rendered(*which, value)
        # No value adds a directive. Devices are only named if there are some.
        assert set(directives(unit)) - set(plain(*which)) == set()
        file = folder / "x.service"
        file.write_text(re.sub(r"(?m)^(Exec\w+=\S*?)/[^ ]+( |$)", r"\1/bin/true\2", unit), encoding="utf-8")
        found = run("systemd-analyze", "verify", "--man=no", str(file))
        assert not re.search(r"x\.service:\d+", found), (value, found)

    judge()


@pytest.mark.hypothesis
@needs("nginx")
@needs("openssl")
def test_nginx_reads_every_gateway(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("nginx")
    pem = [str(folder / "server.key"), "-out", str(folder / "server.pem"), "-subj", "/CN=x", "-days", "9"]
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", *pem)
    main = folder / "nginx.conf"
    main.write_text(f"error_log stderr; pid {folder}/pid; events {{}}\nhttp {{ include {folder}/x.conf; }}\n")

    @FEW
    @given(one_value(*GATEWAY))
    def judge(value: dict[str, Any]) -> None:
        if values.problems(value, OPTIONS):
            return
        (folder / "x.conf").write_text(rendered(*GATEWAY, value, __gateway_folder=str(folder)), encoding="utf-8")
        lines = run("nginx", "-t", "-q", "-c", str(main)).splitlines()
        # These are faults of this machine, which has no such address or name.
        wrong = [line for line in lines if "[emerg]" in line and not re.search(r"bind\(\)|host not found", line)]
        assert wrong == [], value

    judge()


@pytest.mark.hypothesis
@needs("haproxy")
def test_haproxy_reads_every_balancer(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("haproxy")
    for name in ("hold.lua", "faults.lst"):
        shutil.copy(ROLES / "balancer" / "files" / name, folder)
    (folder / "clients.lst").write_text("xf-0123456789abcdefg\n")
    node = {"name": "a", "address": "10.0.0.1", "port": 9997, "key": "xf-0123456789abcdefg"}
    nodes = st.fixed_dictionaries(
        {"name": texts("word"), "address": texts("host"), "port": st.integers(1, 65535), "key": texts("key")},
        optional={"server_name": texts("host"), "hears": st.booleans()},
    )
    both = st.one_of(one_value(*BALANCER), nodes.map(lambda row: {"balancer_nodes": [row]}))

    @FEW
    @given(both)
    def judge(value: dict[str, Any]) -> None:
        if values.problems(value, OPTIONS):
            return
        rows = value.get("balancer_nodes") or [node]
        text = rendered(*BALANCER, {**value, "balancer_nodes": rows}, __balancer_folder=str(folder))
        (folder / "haproxy.cfg").write_text(text, encoding="utf-8")
        (folder / "keys.cfg").write_text(balancer.keys_file([balancer.Node.parse(row) for row in rows]))
        found = run("haproxy", "-c", "-q", "-f", str(folder / "keys.cfg"), "-f", str(folder / "haproxy.cfg"))
        assert found == "", value

    judge()


@pytest.mark.hypothesis
@needs("nft")
@needs("unshare")
def test_nft_reads_every_filter(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Test the rules in a network namespace of their own."""
    file = tmp_path_factory.mktemp("nft") / "rules.nft"
    networks = st.lists(texts("allowed"), max_size=3)

    @FEW
    @given(value=st.fixed_dictionaries(dict.fromkeys(NETWORKS, networks)), port=st.integers(1, 65535))
    def judge(value: dict[str, Any], port: int) -> None:
        if values.problems(value, OPTIONS):
            return
        clients, metrics = (value[name] for name in NETWORKS)
        rules = packet_filter.Rules("nobody", ["10.0.0.1"], [port], [port], clients, [port], metrics)
        file.write_text(packet_filter.text(rules))
        command = ["unshare", "--map-root-user", "--net", "nft", "--check", "--file", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "unshare" in done.stderr, (value, done.stderr)

    judge()


def test_a_gateway_on_all_addresses_names_them_in_brackets() -> None:
    assert "    listen [::]:9443 ssl ipv6only=off;\n" in rendered(*GATEWAY, {"gateway_host": "::"})
    assert "    listen [fd00::1]:9443 ssl;\n" in rendered(*GATEWAY, {"gateway_host": "fd00::1"})
    assert "    listen 0.0.0.0:9443 ssl;\n" in rendered(*GATEWAY, {})


@given(st.dictionaries(texts("environment-name"), texts("environment-value"), min_size=1, max_size=3))
@FEW
def test_a_variable_of_the_service_arrives_as_it_is(value: dict[str, Any]) -> None:
    """systemd removes the quotes and backslashes that the unit adds, and reads %% as the sign itself."""
    given_values = {"xinference_environment": value}
    if values.problems(given_values, OPTIONS):
        return
    lines = rendered(*UNIT, given_values).splitlines()
    for name, text in value.items():
        quoted = json.dumps(str(text), ensure_ascii=False).replace("%", "%%")
        assert f'Environment="{name}={quoted[1:]}' in lines
