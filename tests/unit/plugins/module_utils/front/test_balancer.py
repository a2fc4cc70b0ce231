# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.front import balancer

KEY = "xf-0123456789abcdef"
PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


def node(name: str = "one", address: str = "10.0.0.1", **more: object) -> balancer.Node:
    return balancer.Node.parse({"name": name, "address": address, "port": 9997, "key": KEY, "ca": None, **more})


def test_valid_nodes_have_no_faults() -> None:
    nodes = [node(), node("two", "10.0.0.2", ca=PEM, server_name="two.example"), node("six", "fd00::6")]
    assert balancer.faults(nodes, [KEY]) == []


@pytest.mark.parametrize(
    ("nodes", "keys", "words"),
    [
        ([], [], "balancer_nodes is empty"),
        ([node("a b")], [], "'a b' is not the name"),
        ([node(), node(address="10.0.0.2")], [], "Two nodes have the name one"),
        ([node(), node("two")], [], "one and two have the same address 10.0.0.1:9997"),
        ([node(port=0)], [], "0 is not a port"),
        ([node(address="10.0.0.1; x")], [], "is not an address"),
        ([node(ca="x", server_name="one")], [], "not a certificate in PEM form"),
        ([node(ca=PEM)], [], "server_name"),
        ([node(server_name="one\n    option x")], [], "server_name"),
        ([node(key='"quoted" and long enough')], [], "one: its key cannot be used"),
        ([node()], ["short"], "balancer_client_keys: key 1 cannot be used"),
    ],
)
def test_each_fault_is_named(nodes: list[balancer.Node], keys: list[str], words: str) -> None:
    found = balancer.faults(nodes, keys)
    assert len(found) == 1
    assert words in found[0]


def test_all_faults_are_reported_at_once_without_keys() -> None:
    found = balancer.faults([node(port=0), node("two", key="bad key of a node")], ["bad key of a client"])
    assert len(found) == 3
    assert not any("bad key" in sentence for sentence in found)


def test_each_key_has_its_own_address_in_the_documentation_prefix() -> None:
    one, two = (ipaddress.ip_address(balancer.check_address(key)) for key in (KEY, KEY + "2"))
    assert one != two
    assert one in ipaddress.ip_network("2001:db8::/32")
    assert str(one) == balancer.check_address(KEY)


def test_the_keys_become_variables_in_the_order_of_the_nodes() -> None:
    text = balancer.keys_file([node(), node("two", "10.0.0.2", key=KEY + "2")])
    assert f'setenv VOICEFLEET_KEY_1 "{KEY}"\n' in text
    assert f'setenv VOICEFLEET_KEY_2 "{KEY}2"\n' in text
    assert f'setenv VOICEFLEET_CHECK_2 "{balancer.check_address(KEY + "2")}"\n' in text


# The answer of HAProxy 2.6 without columns that do not matter.
STAT = """# pxname,svname,status,check_status,check_code,last_chk,check_desc,
speech,FRONTEND,OPEN,,,,,
nodes,one,UP,,,,,
node-1,FRONTEND,OPEN,,,,,
node-1,one,UP,L7OK,200,,Layer7 check passed,
node-1,BACKEND,UP,,,,,
node-2,two,DOWN,L7RSP,,HTTP content check did not match,Layer7 invalid response,
node-3,three,DOWN,L7STS,401,HTTP status check returned code <3C>401<3E>,Layer7 wrong status,
node-4,four,DOWN 1/2,L4CON,,Connection refused,Layer4 connection problem,
node-5,five,DOWN,L7STS,429,,Layer7 wrong status,
"""


def test_each_node_is_reported_with_the_reason() -> None:
    states = balancer.node_states(STAT)
    assert [state.up for state in states] == [True, False, False, False, False]
    words = [state.sentence() for state in states]
    assert words[0] == "one is ready"
    assert words[1] == "two is DOWN: it answers, but its model is not READY"
    assert words[2].startswith("three is DOWN: it refuses the balancer's key")
    assert words[3] == "four is DOWN 1/2: Connection refused"
    assert "five is DOWN: it has banned" in words[4]


def serve(path: str, answers: list[str]) -> threading.Thread:
    """A stand-in for HAProxy's socket, with one answer for each connection."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def answer() -> None:
        with listener:
            for text in answers:
                connection, _address = listener.accept()
                with connection:
                    assert connection.recv(100) == b"show stat\n"
                    connection.sendall(text.encode())

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_it_waits_until_all_nodes_are_ready(tmp_path: Path) -> None:
    ready = "\n".join(STAT.splitlines()[:6])
    thread = serve(str(tmp_path / "s"), [STAT, STAT, ready])
    states = balancer.wait_ready(str(tmp_path / "s"), 20, pause=0.01)
    thread.join()
    assert [state.sentence() for state in states] == ["one is ready"]


def test_after_the_time_limit_it_reports_the_current_states(tmp_path: Path) -> None:
    thread = serve(str(tmp_path / "s"), [STAT])
    assert len(balancer.wait_ready(str(tmp_path / "s"), -1)) == 5
    thread.join()


def test_without_a_socket_it_fails_at_the_time_limit(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        balancer.wait_ready(str(tmp_path / "s"), 0.05, pause=0.01)


def test_a_percent_sign_in_a_key_stays_as_it_is() -> None:
    text = balancer.keys_file([node(key="xf-100%T-and-more-of-it")])
    assert 'setenv VOICEFLEET_KEY_1 "xf-100%T-and-more-of-it"' in text


def test_whisper_of_a_node_is_reported_apart() -> None:
    rows = (
        "node-1,one,UP,,,,,\nhears-1,FRONTEND,OPEN,,,,,\nhears-1,one,DOWN,L7RSP,,HTTP content check did not match,,\n"
    )
    speaks, hears = balancer.node_states(STAT.splitlines()[0] + "\n" + rows)
    assert (speaks.up, speaks.hears, speaks.sentence()) == (True, False, "one is ready")
    assert (hears.up, hears.hears) == (False, True)
    assert hears.sentence() == "one is DOWN for transcriptions: it answers, but its model is not READY"


def test_a_node_that_lacks_a_language_is_named() -> None:
    nodes = [node(languages=["a", "b"]), node("two", languages=["a"]), node("three")]
    (warning,) = balancer.lacking(nodes)
    assert warning.startswith("two does not speak b, which another node does.")
    assert balancer.lacking([node(languages=["a", "b"]), node("two", languages=["b", "a"])]) == []


def test_the_newer_mandarin_of_a_node_is_reported_apart() -> None:
    (state,) = balancer.node_states(STAT.splitlines()[0] + "\nmandarin-1,one,UP,,,,,\nmandarin,one,UP,,,,,\n")
    assert (state.task, state.sentence()) == ("the newer Mandarin", "one is ready for the newer Mandarin")


@pytest.mark.parametrize(("part", "pause"), [(b"x" * 65536, 0.0), (b"x", 0.05)])
def test_an_endless_answer_of_the_socket_ends(tmp_path: Path, part: bytes, pause: float) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()

    def answer() -> None:
        connection, _address = listener.accept()
        with connection, contextlib.suppress(OSError):
            while True:
                connection.sendall(part)
                time.sleep(pause)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    with listener, pytest.raises(OSError, match="sent more than 4 MiB|timed out"):
        balancer.ask(str(tmp_path / "s"), "show stat", 1.0)
    thread.join()
