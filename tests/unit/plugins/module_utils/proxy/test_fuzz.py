# SPDX-License-Identifier: GPL-3.0-or-later
"""Random settings of a proxy: they are refused, or every client's file has exactly their lines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")

from ansible_collections.voicefleet.kokoro.plugins.module_utils.proxy import files, settings as proxy
from hypothesis import given, settings as hypothesis_settings, strategies as st

CLIENTS = ("login", "pam", "systemd", "apt", "dnf", "pip", "uv", "ansible")
TEXT = st.text(alphabet="ab1.:/@%#$`'\"\\ ;{}[]*=\n\r\0\x1b\u2028\u00e4", max_size=12)
ENTRIES = st.one_of(st.sampled_from(["10.0.0.0/8", ".corp", "*.corp", "a:80", "fd00::1", "fe80::1%a"]), TEXT)
MORE = st.one_of(st.just(""), TEXT)


def written(given_settings: proxy.Settings, root: Path) -> list[str]:
    """The text of each file and block."""
    wanted = files.wanted(given_settings, proxy.no_proxy(given_settings, []), CLIENTS, (), str(root))
    return [each.text for each in wanted.files] + [block.text for block in wanted.blocks]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    for name in ("pam.d", "systemd", "apt/apt.conf.d", "dnf"):
        (folder / "etc" / name).mkdir(parents=True)
    (folder / "etc/dnf/dnf.conf").write_text("[main]\n")
    return folder


@given(
    given_settings=st.builds(
        proxy.Settings,
        http=MORE.map("http://proxy.corp:3128{}".format),
        https=st.just("http://proxy.corp:3128"),
        no_proxy=st.lists(ENTRIES, max_size=2).map(tuple),
        username=st.one_of(st.just("kim"), TEXT),
        password=st.one_of(st.just("secret"), TEXT),
        pip_index_url=MORE.map("https://mirror.corp/simple{}".format),
        hf_endpoint=MORE.map("https://mirror.corp/hf{}".format),
    )
)
@hypothesis_settings(max_examples=hypothesis_settings().max_examples * 3)
def test_no_setting_adds_a_line_to_a_file(given_settings: proxy.Settings, root: Path) -> None:
    if proxy.problems(given_settings):
        return
    plain = proxy.Settings(
        http="http://p:1",
        https="http://p:1",
        no_proxy=tuple("a" for _entry in given_settings.no_proxy),
        username=given_settings.username and "kim",
        password=given_settings.password and "secret",
        pip_index_url="https://m/s",
        hf_endpoint="https://m/h",
    )
    found, expected = written(given_settings, root), written(plain, root)
    # apt has one line for each entry of NO_PROXY, and not for each kind of entry.
    assert [len(text.splitlines()) for text in found if "Acquire" not in text] == [
        len(text.splitlines()) for text in expected if "Acquire" not in text
    ]
    assert all(line.isprintable() for text in found for line in text.splitlines())


@given(st.text(alphabet="ab1%#$`'\"\\ ;{}[]*=\u00e4", min_size=1, max_size=12))
@hypothesis_settings(max_examples=max(10, hypothesis_settings().max_examples // 10))
def test_a_password_arrives_in_a_shell_as_it_is(password: str) -> None:
    given_settings = proxy.Settings(http="http://proxy.corp:3128", username="kim", password=password)
    assert proxy.problems(given_settings) == []
    variables = proxy.environment(given_settings, proxy.NoProxy(()), "", secret=True)
    script = files._exports(variables) + 'printf %s "$http_proxy"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == given_settings.with_credentials("http://proxy.corp:3128")
