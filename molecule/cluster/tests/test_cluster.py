# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster as its clients, a stranger on its network and its operator see it.

Clients only know the supervisor. Speech must go on while a worker stops, dies or comes back.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Generator

import pytest
import testinfra
from deployed import UNIT, Speaker
from testinfra.host import Host

INVENTORY = os.environ["MOLECULE_INVENTORY_FILE"]
NETWORK = "vf-cluster"
CURRENT = "/opt/voicefleet/current"
SECRETS = "/etc/voicefleet"
FILTER = "voicefleet-filter.service"

SUPERVISOR, WORKER_1, WORKER_2 = "vf-cluster-s", "vf-cluster-w1", "vf-cluster-w2"
ADDRESSES = {SUPERVISOR: "10.213.7.2", WORKER_1: "10.213.7.3", WORKER_2: "10.213.7.4"}
# The inventory allows the client, but not the stranger.
CLIENT, STRANGER = "10.213.7.9", "10.213.7.66"
# Two failed checks take four seconds. A silent host takes longer, and so does a busy machine.
FOUND_SECONDS = 20
# On its own machine, a worker is back after half a minute. Here three instances and their tests share one.
BACK_SECONDS = 600


def get(name: str) -> Host:
    return testinfra.get_host(f"ansible://{name}", ansible_inventory=INVENTORY)


def until(what: Callable[[], object], seconds: float, why: str) -> float:
    """Wait until `what` is true, and return the seconds. Fail after `seconds`."""
    start = time.monotonic()
    while not what():
        if time.monotonic() - start > seconds:
            pytest.fail(f"After {seconds:.0f} s: {why}")
        time.sleep(0.5)
    return time.monotonic() - start


@pytest.fixture(scope="module")
def supervisor() -> Host:
    return get(SUPERVISOR)


@pytest.fixture(scope="module")
def client(supervisor: Host) -> Speaker:
    return Speaker(supervisor, f"http://{ADDRESSES[SUPERVISOR]}:9997")


def api(supervisor: Host, path: str) -> object:
    """The API's answer to its own key, or None without an answer."""
    said = supervisor.run(
        "curl --silent --fail --max-time 10 -H @/etc/voicefleet/client.header "
        f"http://{ADDRESSES[SUPERVISOR]}:9997{path}"
    )
    return json.loads(said.stdout) if said.rc == 0 and said.stdout else None


def registered(supervisor: Host) -> list[str]:
    """The workers that the supervisor knows, by name."""
    status = api(supervisor, "/status")
    known = status["workers"] if isinstance(status, dict) else {}
    return [name for name, address in ADDRESSES.items() if f"{address}:30001" in known]


def speaking(supervisor: Host) -> list[str]:
    """The workers with a replica that is READY, by name."""
    found = api(supervisor, "/v1/models/instances?model_uid=kokoro")
    replicas = found[0]["replica_statuses"] if isinstance(found, list) and found else []
    ready = [replica["worker_address"] for replica in replicas if replica["status"] == "READY"]
    return [name for name, address in ADDRESSES.items() if f"{address}:30001" in ready]


def answered(name: str) -> float:
    """How many requests a worker has answered, by its own count."""
    address = ADDRESSES[name]
    metrics = get(name).check_output(f"curl --silent --fail --max-time 10 http://{address}:31001/metrics")
    lines = [line for line in metrics.splitlines() if line.startswith("xinference:model_request_total{")]
    return sum(float(line.split()[-1]) for line in lines)


# --- what runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "program"),
    [(SUPERVISOR, "xinference-supervisor"), (WORKER_1, "xinference-worker"), (WORKER_2, "xinference-worker")],
)
def test_each_member_runs_its_part(name: str, program: str) -> None:
    host = get(name)
    assert host.service(UNIT).is_running
    assert host.service(UNIT).is_enabled
    pid = host.check_output("systemctl show --property MainPID --value %s", UNIT)
    assert program in host.check_output(f"tr '\\0' ' ' < /proc/{pid}/cmdline")


def test_each_worker_has_a_replica_and_gets_its_share_of_requests(supervisor: Host, client: Speaker) -> None:
    assert speaking(supervisor) == [WORKER_1, WORKER_2]
    before = answered(WORKER_1), answered(WORKER_2)
    for _each in range(10):
        assert client.ask().status == 200
    shares = answered(WORKER_1) - before[0], answered(WORKER_2) - before[1]
    assert sum(shares) == 10
    # Replicas take turns. Xinference begins again with the first one when it learns something about a replica.
    assert min(shares) >= 3


# --- what stays secret ------------------------------------------------------------------------------------------------


def test_members_share_one_key_and_workers_have_no_accounts() -> None:
    held = {name: json.loads(get(name).file(f"{SECRETS}/secrets.json").content_string) for name in ADDRESSES}
    assert len({secrets["xoscar_auth_key"] for secrets in held.values()}) == 1
    assert sorted(held[WORKER_1]) == ["client_key", "xoscar_auth_key"]
    for name, secrets in held.items():
        host = get(name)
        assert host.check_output("find %s -type f ! \\( -perm 600 -user root \\)", SECRETS) == ""
        told = host.check_output(
            "journalctl --no-pager; ps -eo args; systemctl cat %s %s; cat /var/lib/voicefleet/logs/*", UNIT, FILTER
        )
        # Only names: a failing test must not show a secret either.
        assert [secret for secret, value in secrets.items() if value in told] == []


CALL = """
import asyncio, os, sys
import xoscar
async def call(address, uid):
    await asyncio.wait_for(xoscar.actor_ref(address=address, uid=uid), 20)
try:
    asyncio.run(call(sys.argv[1], sys.argv[2]))
except BaseException as error:
    sys.exit(type(error).__name__)
"""


def call(host: Host, address: str, uid: str, key: bool) -> int:
    """Let a process on a member ask for an actor's address, with or without the key. Return 0 if it gets it."""
    setenv = f"env $(grep ^XOSCAR_AUTH_KEY= {SECRETS}/xinference.env)" if key else "env -u XOSCAR_AUTH_KEY"
    return int(host.run(f"HOME=/tmp {setenv} timeout 60 {CURRENT}/env/bin/python -c '{CALL}' {address} {uid}").rc)


@pytest.mark.parametrize(
    ("address", "uid"),
    [("10.213.7.2:9998", "supervisor"), ("10.213.7.3:30001", "worker"), ("10.213.7.4:30001", "worker")],
)
def test_a_process_without_the_key_gets_no_answer(supervisor: Host, address: str, uid: str) -> None:
    assert call(supervisor, address, uid, key=True) == 0
    assert call(supervisor, address, uid, key=False) != 0


# The first bytes of an xoscar frame, and a pickle that writes a file when it is loaded.
ATTACK = """
import pickle, socket, struct, sys
class Code:
    def __reduce__(self):
        return exec, ("import os; open(os.environ['XINFERENCE_HOME'] + '/tmp/reached', 'w').close()",)
header = pickle.dumps([{"is_cuda_buffers": [], "buf_sizes": []}, Code()])
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as connection:
    connection.sendall(struct.pack("<BQH", 1, len(header), 0) + header)
    try:
        connection.recv(4096)
    except OSError:
        pass
"""


def ports_of(name: str) -> list[int]:
    """The ports on which a member listens for others."""
    lines = get(name).check_output("ss --listening --tcp --numeric --no-header").splitlines()
    places = [line.split()[3].rsplit(":", 1) for line in lines]
    return sorted({int(port) for address, port in places if not address.startswith(("127.", "[::1]"))})


@pytest.mark.parametrize("name", list(ADDRESSES))
def test_code_sent_to_any_port_does_not_run(supervisor: Host, name: str) -> None:
    """The sender is a member, which the packet filter allows."""
    ports = ports_of(name)
    assert set(ports) > ({9997} if name == SUPERVISOR else {30001, 31001})
    for port in ports:
        supervisor.check_output(f"python3 - {ADDRESSES[name]} {port} <<'EOF'\n{ATTACK}\nEOF")
    time.sleep(2)
    assert not get(name).file("/var/lib/voicefleet/tmp/reached").exists


# --- a stranger on the network ----------------------------------------------------------------------------------------


class Other:
    """Another machine on the cluster's network."""

    def __init__(self, address: str) -> None:
        self.name = f"{NETWORK}-other-{address.rsplit('.', 1)[1]}"
        image = "voicefleet-host:debian12"
        self.docker(
            "run",
            "--detach",
            "--rm",
            "--name",
            self.name,
            "--network",
            NETWORK,
            "--ip",
            address,
            image,
            "sleep",
            "3600",
        )

    @staticmethod
    def docker(*arguments: str) -> str:
        return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def reaches(self, name: str, port: int) -> bool:
        connect = f"import socket; socket.create_connection(('{ADDRESSES[name]}', {port}), timeout=4)"
        done = subprocess.run(["docker", "exec", self.name, "python3", "-c", connect], capture_output=True, check=False)
        return done.returncode == 0

    def open_ports(self) -> dict[str, list[int]]:
        return {name: [port for port in ports_of(name) if self.reaches(name, port)] for name in ADDRESSES}


@pytest.fixture(scope="module")
def stranger() -> Generator[Other]:
    other = Other(STRANGER)
    yield other
    other.docker("rm", "--force", other.name)


@pytest.fixture(scope="module")
def outside_client() -> Generator[Other]:
    other = Other(CLIENT)
    yield other
    other.docker("rm", "--force", other.name)


def test_members_listen_on_pinned_ports_and_models_on_one_of_the_kernels() -> None:
    assert ports_of(SUPERVISOR) == [9997, 9998]
    for worker in (WORKER_1, WORKER_2):
        pinned = [port for port in ports_of(worker) if port in (30001, 31001)]
        model = [port for port in ports_of(worker) if port not in pinned]
        assert (pinned, len(model)) == ([30001, 31001], 1)


def test_a_stranger_reaches_no_port(stranger: Other) -> None:
    assert stranger.open_ports() == {SUPERVISOR: [], WORKER_1: [], WORKER_2: []}


def test_a_client_reaches_only_the_api_and_the_metrics(outside_client: Other) -> None:
    assert outside_client.open_ports() == {SUPERVISOR: [9997], WORKER_1: [31001], WORKER_2: [31001]}


@pytest.mark.parametrize("name", [SUPERVISOR, WORKER_1])
def test_the_packet_filter_closes_the_other_ports_to_the_client(outside_client: Other, name: str) -> None:
    """systemd's address filter also blocks the stranger, but it lets this client reach all ports."""
    host = get(name)
    before = outside_client.open_ports()[name]
    host.check_output("nft delete table inet voicefleet")
    try:
        assert outside_client.open_ports()[name] == ports_of(name)
    finally:
        host.check_output("systemctl reload %s", FILTER)
    assert outside_client.open_ports()[name] == before


def test_rules_of_others_are_left_alone() -> None:
    """A reload replaces only our table."""
    worker = get(WORKER_2)
    worker.check_output("nft add table inet somebody")
    worker.check_output("systemctl reload %s", FILTER)
    tables = worker.check_output("nft list tables").splitlines()
    assert {"table inet somebody", "table inet voicefleet"} <= set(tables)
    worker.check_output("nft delete table inet somebody")


# --- a member falls ---------------------------------------------------------------------------------------------------


def restored(supervisor: Host) -> float:
    """Seconds until both workers speak again."""
    return until(lambda: speaking(supervisor) == [WORKER_1, WORKER_2], BACK_SECONDS, "not all workers speak")


def log(supervisor: Host) -> str:
    return supervisor.check_output("cat /var/lib/voicefleet/logs/xinference.log")


def test_a_stopped_worker_signs_off_and_no_request_fails(supervisor: Host, client: Speaker) -> None:
    worker = get(WORKER_1)
    dead = log(supervisor).count("dead. address: 10.213.7.3")
    worker.check_output("systemctl stop %s", UNIT)
    assert registered(supervisor) == [WORKER_2]
    assert [client.ask().status for _each in range(4)] == [200] * 4
    # It was not detected as dead: it had signed off.
    assert log(supervisor).count("dead. address: 10.213.7.3") == dead
    worker.check_output("systemctl start %s", UNIT)
    print(f"Both spoke {restored(supervisor):.0f} s after the start.")


@pytest.mark.parametrize("how", ["killed", "silent"])
def test_a_dead_worker_is_detected_in_seconds_and_the_other_serves_on(
    supervisor: Host, client: Speaker, how: str
) -> None:
    if how == "killed":
        # Down permanently, not only for the 5 seconds until systemd restarts it.
        get(WORKER_2).check_output("systemctl mask --runtime %s && systemctl kill --signal KILL %s", UNIT, UNIT)
    else:
        subprocess.run(["docker", "pause", WORKER_2], check=True, capture_output=True)
    try:
        seconds = until(
            lambda: registered(supervisor) == [WORKER_1], FOUND_SECONDS, "the dead worker still counts as alive"
        )
        print(f"Found dead after {seconds:.0f} s.")
        assert [client.ask().status for _each in range(4)] == [200] * 4
    finally:
        if how == "killed":
            get(WORKER_2).check_output("systemctl unmask --runtime %s && systemctl restart %s", UNIT, UNIT)
        else:
            subprocess.run(["docker", "unpause", WORKER_2], check=True, capture_output=True)
    print(f"Both spoke {restored(supervisor):.0f} s after it was back.")


def test_workers_return_to_a_restarted_supervisor(supervisor: Host, client: Speaker) -> None:
    supervisor.check_output("systemctl restart %s", UNIT)
    print(f"The cluster spoke {client.wait(BACK_SECONDS):.0f} s after the restart.")
    print(f"Both spoke {restored(supervisor):.0f} s after that.")


def test_the_cluster_recovers_after_all_members_stopped(supervisor: Host, client: Speaker) -> None:
    """No replica is left to copy from: the model starts from what the supervisor has stored."""
    for name in ADDRESSES:
        get(name).check_output("systemctl stop %s", UNIT)
    # One worker stays down. The model must still come back on the other.
    for name in (SUPERVISOR, WORKER_1):
        get(name).check_output("systemctl start %s", UNIT)
    print(f"The cluster spoke {client.wait(BACK_SECONDS):.0f} s after the start.")
    get(WORKER_2).check_output("systemctl start %s", UNIT)
    until(lambda: registered(supervisor) == [WORKER_1, WORKER_2], BACK_SECONDS, "the second worker is not back")
    assert client.ask().status == 200
