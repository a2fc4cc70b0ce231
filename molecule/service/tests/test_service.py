# SPDX-License-Identifier: GPL-3.0-or-later
"""The service as its operator, a client, and another user of the host see it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deployed import ENDPOINT, SENTENCE, UNIT, Speaker
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
SECRETS = "/etc/voicefleet"
CURRENT = "/opt/voicefleet/current"
PROGRAMS = "/root/programs"
TIMES = PROJECT / "build/molecule/service/recovery.json"


def play(name: str, *options: str, status: int = 0) -> str:
    """Run a playbook with full verbosity, expect an exit status, and return the output."""
    done = subprocess.run(
        ["ansible-playbook", name, "--inventory", os.environ["MOLECULE_INVENTORY_FILE"], "--diff", "-vvv", *options],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / ".cache/ws"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    # Ansible wraps messages for a terminal.
    return " ".join((done.stdout + done.stderr).split())


def ask(host: Host, client: str, header: str = "") -> int:
    """The HTTP status that a client gets for a sentence."""
    body = {"model": "kokoro", "input": SENTENCE, "voice": "af_heart", "response_format": "wav"}
    return int(
        host.check_output(
            f"curl --silent --max-time 120 --output /dev/null --write-out '%%{{http_code}}' -H %s "
            f"-H 'Content-Type: application/json' --data %s {ENDPOINT}/v1/audio/speech",
            header or f"@{SECRETS}/keys/{client}.header",
            json.dumps(body),
        )
    )


def show(host: Host, name: str) -> str:
    return str(host.check_output("systemctl show --property %s --value %s", name, UNIT))


def sql(host: Host, *statements: str) -> None:
    """Change Xinference's accounts by hand, as their owner."""
    code = "import sqlite3, sys; c = sqlite3.connect('/var/lib/voicefleet/auth/auth.db'); "
    code += "[c.execute(s) for s in sys.argv[1:]]; c.commit()"
    host.check_output("runuser -u voicefleet -- python3 -c %s" + " %s" * len(statements), code, *statements)


@pytest.fixture(scope="module")
def programs(host: Host) -> str:
    """Copy the programs of this scenario and the collection's client to the host. Return their folder."""
    name = host.backend.get_hostname()
    host.check_output("rm -rf %s", PROGRAMS)
    for source, target in (
        (PROJECT / "molecule/service/programs", PROGRAMS),
        (PROJECT / "plugins/module_utils", f"{PROGRAMS}/module_utils"),
    ):
        subprocess.run(["docker", "cp", "--quiet", str(source), f"{name}:{target}"], check=True)
    return PROGRAMS


# --- the unit ---------------------------------------------------------------------------------------------------------


def test_systemd_rates_the_exposure_of_the_unit_as_low(host: Host) -> None:
    """0 is the best rating and 10 the worst. Most services of a distribution have 9."""
    said = host.check_output("systemd-analyze security --no-pager %s", UNIT)
    score = re.search(r"Overall exposure level for .*: ([\d.]+)", said)
    assert score, said
    assert float(score[1]) <= 2.0


def test_the_unit_stops_gracefully_and_leaves_no_process(host: Host) -> None:
    # A synthesis in progress may take 34 s to finish.
    assert show(host, "TimeoutStopUSec") == "1min 30s"
    assert show(host, "KillMode") == "control-group"
    assert (show(host, "Restart"), show(host, "Type"), show(host, "UMask")) == ("always", "exec", "0077")
    # xinference_memory_max with one model process.
    assert int(show(host, "MemoryMax")) == 6 << 30


def test_the_environment_keeps_the_process_offline_and_limited(host: Host) -> None:
    variables = host.check_output("tr '\\0' '\\n' < /proc/%s/environ", show(host, "MainPID"))
    environment = dict(line.split("=", 1) for line in variables.splitlines())
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["XINFERENCE_ENABLE_VIRTUAL_ENV"] == "0"
    assert environment["XINFERENCE_MODEL_SRC"] == "huggingface"
    # The scenarios set xinference_threads.
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["XINFERENCE_HEALTH_CHECK_INTERVAL"] == "1"
    assert environment["XINFERENCE_SUBPOOL_LAUNCH_TIMEOUT"] == "300"
    # Upstream keeps 30 GB of logs.
    kept = int(environment["XINFERENCE_LOG_MAX_BYTES"]) * int(environment["XINFERENCE_LOG_BACKUP_COUNT"])
    assert kept <= 200 << 20
    assert len(environment["XOSCAR_AUTH_KEY"]) == 64


def test_the_filter_of_system_calls_leaves_torch_its_threads(host: Host) -> None:
    """Without an error, torch computes with one thread if a call of Intel's OpenMP is refused."""
    lines = host.check_output("systemctl cat %s", UNIT).splitlines()
    options = " ".join(f"--property '{line}'" for line in lines if line.startswith("SystemCall"))
    threads = host.check_output(
        f"systemd-run --quiet --wait --pipe {options} --property Environment=OMP_NUM_THREADS=2 "
        f"{CURRENT}/env/bin/python -B -c 'import torch; print(torch.get_num_threads())'"
    )
    assert threads == "2"


def test_no_log_line_is_also_in_the_journal(host: Host) -> None:
    log = host.file("/var/lib/voicefleet/logs/xinference.log").content_string.splitlines()
    journal = host.check_output("journalctl --no-pager --output cat --unit %s", UNIT)
    assert len(log) > 10
    assert [line for line in log if len(line) > 40 and line in journal] == []


# --- closed to others -------------------------------------------------------------------------------------------------


def attack(host: Host, programs: str, *ports: str) -> dict[str, str]:
    """Send a frame that contains code to each port, as a user of the host without any rights."""
    program = host.file(f"{programs}/attack.py").content_string
    done = host.run(f"cd / && runuser -u nobody -- python3 - {' '.join(ports)} <<'EOF'\n{program}\nEOF")
    assert done.rc == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def test_code_sent_to_any_port_of_the_service_does_not_run(host: Host, programs: str, speaker: Speaker) -> None:
    listeners = host.check_output("ss --listening --tcp --numeric --processes --no-header").splitlines()
    ports = [line.split()[3].rsplit(":", 1)[1] for line in listeners]
    # The API, its metrics, and the actors of supervisor, worker and model.
    assert "9997" in ports
    assert len(ports) >= 5, listeners
    outcome = attack(host, programs, *ports)
    assert sorted(outcome) == sorted(ports)
    # The two HTTP ports answer with an error. All others close the connection.
    answered = {port: said for port, said in outcome.items() if said.startswith("answered")}
    assert all("HTTP/1.1 400" in said for said in answered.values()), outcome
    assert len(answered) < len(ports)
    time.sleep(2)
    assert host.run("ls /var/lib/voicefleet/tmp | grep reached-").stdout == ""
    assert speaker.ask().status == 200


def test_the_same_code_runs_without_a_key(host: Host, programs: str) -> None:
    """The premise of the test before: the payload works, and only XOSCAR_AUTH_KEY stops it."""
    host.check_output("mkdir -p /tmp/open/tmp")
    host.check_output(
        "systemd-run --quiet --collect --unit open-pool --setenv XINFERENCE_HOME=/tmp/open --setenv HOME=/tmp/open "
        f"{CURRENT}/env/bin/python -B {programs}/open_pool.py 23456"
    )
    try:
        for _each in range(60):
            if host.socket("tcp://127.0.0.1:23456").is_listening:
                break
            time.sleep(1)
        attack(host, programs, "23456")
        time.sleep(2)
        assert host.file("/tmp/open/tmp/reached-23456").exists
    finally:
        host.run("systemctl stop open-pool")


def test_another_user_cannot_read_its_files(host: Host) -> None:
    for path in ("/var/lib/voicefleet/auth/auth.db", "/var/lib/voicefleet/logs", f"{SECRETS}/keys/shop.key"):
        assert host.run("runuser -u nobody -- ls %s", path).rc != 0


# --- the API and its clients ------------------------------------------------------------------------------------------


def test_the_collections_client_works_with_the_real_server(host: Host, programs: str) -> None:
    assert host.check_output(f"python3 {programs}/client.py") == "ok"


def test_each_client_may_use_only_its_models(host: Host) -> None:
    assert ask(host, "shop") == 200
    assert ask(host, "kiosk") == 403


def test_a_rotated_key_overlaps_with_the_former_one_and_no_key_is_shown(host: Host) -> None:
    former = host.file(f"{SECRETS}/keys/shop.header").content_string.strip()
    rotate = str(PROJECT / "molecule/service/rotate.yml")
    said = play(rotate, "-e", "rotation=second")
    second = host.file(f"{SECRETS}/keys/shop.header").content_string.strip()
    assert second != former
    assert (ask(host, "shop"), ask(host, "shop", former)) == (200, 200)
    again = play(rotate, "-e", "rotation=second")
    assert "changed=0" in again
    said += again + play(rotate, "-e", "rotation=third overlap=0")
    assert (ask(host, "shop"), ask(host, "shop", second)) == (200, 401)
    third = host.file(f"{SECRETS}/keys/shop.header").content_string.strip()
    said += play(rotate, "-e", "state=absent")
    assert ask(host, "shop", third) == 401
    said += play(rotate, "-e", "state=present")
    assert ask(host, "shop") == 200
    told = {
        "the play": said,
        "the journal": host.check_output("journalctl --no-pager"),
        "Xinference's logs": host.check_output("find /var/lib/voicefleet/logs -type f -exec cat {} +"),
        "the processes": host.check_output("ps -eo args"),
    }
    keys = [header.split()[-1] for header in (former, second, third)]
    # Only numbers: a failing test must not show a key either.
    assert [(n, place) for n, key in enumerate(keys) for place, text in told.items() if key in text] == []


def test_accounts_and_keys_that_were_changed_by_hand_are_corrected(host: Host, speaker: Speaker) -> None:
    before = host.check_output("cat %s/secrets.json | sha256sum", SECRETS), show(host, "MainPID")
    sql(
        host,
        "UPDATE users SET password_hash = password_hash || 0",
        "UPDATE users SET enabled = 0 WHERE id = 1",
        "DELETE FROM user_permissions WHERE user_id = 2",
        # Xinference accepts this type without an error, but it grants nothing.
        "UPDATE api_key_model_permissions SET permission_type = 'model_uid'",
    )
    assert speaker.ask().status == 403
    said = play("voicefleet.kokoro.deploy")
    assert speaker.ask().status == 200
    assert "account voicefleet-deploy: password changed, its sessions ended" in said
    secrets = json.loads(host.file(f"{SECRETS}/secrets.json").content_string)
    assert [name for name, value in secrets.items() if value in said] == []
    for name, password in (("admin", "admin_password"), ("voicefleet-deploy", "deploy_password")):
        # From a file: other users could see a process argument.
        body = json.dumps({"username": name, "password": secrets[password]})
        host.check_output(f"umask 077; cat > /root/login <<'EOF'\n{body}\nEOF")
        status = host.check_output(
            "curl --silent --output /dev/null --write-out '%{http_code}' -H 'Content-Type: application/json' "
            f"--data @/root/login {ENDPOINT}/token; rm /root/login"
        )
        assert status == "200", name
    # Nothing of this needs a restart.
    reasons = [said[place.start() : place.start() + 300] for place in re.finditer("restarted", said)]
    assert (host.check_output("cat %s/secrets.json | sha256sum", SECRETS), show(host, "MainPID")) == before, reasons


# --- models -----------------------------------------------------------------------------------------------------------


def model(host: Host, *options: str, status: int = 0) -> str:
    """Run the playbook that keeps one model."""
    path = host.check_output(f"readlink -f {CURRENT}/models/Kokoro-82M")
    return play(str(PROJECT / "molecule/service/model.yml"), "-e", f"path={path}", *options, status=status)


def test_a_second_replica_is_added_and_removed_without_a_gap(host: Host) -> None:
    body = json.dumps({"model": "kokoro", "input": "Yes.", "voice": "af_heart", "response_format": "wav"})
    script = f"""while [ ! -e /tmp/enough ]; do
        curl --silent --max-time 120 --output /dev/null --write-out '%{{http_code}}\\n' -H @{SECRETS}/client.header \\
            -H 'Content-Type: application/json' --data '{body}' {ENDPOINT}/v1/audio/speech
        sleep 0.3
    done > /tmp/statuses"""
    host.check_output(f"cat > /root/ask.sh <<'EOF'\n{script}\nEOF")
    host.check_output("rm -f /tmp/enough; systemd-run --quiet --collect --unit ask-all-the-time sh /root/ask.sh")
    try:
        assert "1 replicas run, 2 are wanted" in model(host, "-e", "replicas=2", "--check")
        said = model(host, "-e", "replicas=2")
    finally:
        host.check_output("touch /tmp/enough")
    assert "changed=1" in said
    assert "changed=0" in model(host, "-e", "replicas=2")
    assert host.check_output("pgrep --count --full '^Model: kokoro-rep'") == "2"
    statuses = host.file("/tmp/statuses").content_string.split()
    assert len(statuses) > 5
    assert set(statuses) == {"200"}
    assert "changed=1" in model(host)
    assert host.check_output("pgrep --count --full '^Model: kokoro-rep'") == "1"
    assert ask(host, "shop") == 200


def test_a_failed_launch_says_why(host: Host, speaker: Speaker) -> None:
    said = model(host, "-e", "uid=lost path=/nowhere", status=2)
    assert "`model_path`: /nowhere File or directory does not exist" in said
    assert "The model folder is missing or incomplete" in said
    assert "pid=" not in said[said.index("does not exist") - 200 : said.index("does not exist")]
    assert speaker.ask().status == 200


def test_the_next_deploy_brings_back_a_model_that_was_ended(host: Host, speaker: Speaker) -> None:
    assert "changed=1" in model(host, "-e", "state=absent")
    assert "changed=0" in model(host, "-e", "state=absent")
    assert speaker.ask().status == 404
    said = play("voicefleet.kokoro.deploy")
    assert "launched (autostart had not)" in said
    assert speaker.ask().status == 200


# --- monitoring ------------------------------------------------------------------------------------------------------


def test_the_service_has_every_metric_of_the_dashboard(host: Host) -> None:
    assert ask(host, "shop") == 200
    dashboard = json.loads((PROJECT / "roles/monitoring/files/dashboard.json").read_text())
    expressions = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    wanted = set(re.findall(r"xinference:\w+|status_codes_counter|voicefleet_\w+", expressions))
    assert len(wanted) > 12
    told = host.check_output(
        f"curl --silent {ENDPOINT}/metrics http://127.0.0.1:31001/metrics; cat /srv/voicefleet.prom"
    )
    # HELP also names a metric without a value, such as that of failures.
    known = set(re.findall(r"^(?:# HELP )?([a-zA-Z_:]+)", told, re.MULTILINE))
    assert wanted - known == set()
    assert "voicefleet_check_success" in told


def test_the_last_proof_is_written_for_node_exporter(host: Host) -> None:
    text = host.file("/srv/voicefleet.prom").content_string
    release = json.loads(host.file(f"{CURRENT}/release.json").content_string)["id"]
    assert f'voicefleet_check_success{{release="{release}"}} 1' in text
    assert f'voicefleet_proof_level{{release="{release}"}} 2' in text
    assert f'voicefleet_proof_source{{release="{release}"}} 2' in text
    assert host.file("/srv/voicefleet.prom").mode == 0o644


def test_only_reachable_services_become_scrape_targets(host: Host, tmp_path: Path) -> None:
    name = host.backend.get_hostname()
    said = play("voicefleet.kokoro.monitoring", "-e", f"monitoring_dir={tmp_path}")
    assert json.loads((tmp_path / "targets.json").read_text()) == []
    assert f"listens on loopback only: {name}" in said
    assert json.loads((tmp_path / "dashboard.json").read_text())["panels"]
    play("voicefleet.kokoro.monitoring", "-e", f"monitoring_dir={tmp_path} xinference_host=0.0.0.0")
    (row,) = json.loads((tmp_path / "targets.json").read_text())
    assert row == {"labels": {"host": name, "service": "voicefleet"}, "targets": [f"{name}:9997", f"{name}:31001"]}


# --- the repair of the model ------------------------------------------------------------------------------------------


def test_two_syntheses_of_one_text_differ_only_by_the_decoders_noise(host: Host, programs: str) -> None:
    said = host.check_output(
        f"HF_HUB_OFFLINE=1 XINFERENCE_HOME=/tmp/programs-home {CURRENT}/env/bin/python -B -W ignore "
        f"{programs}/dropout.py {CURRENT}/models/Kokoro-82M "
        "/opt/voicefleet/artifacts/*/xinference-*.whl 2>/dev/null | tail -n 1"
    )
    difference = json.loads(said)
    assert difference["repaired"] == 0
    assert difference["published"] > 0.05


@pytest.mark.parametrize(
    "name",
    [
        "kokoro-eval",
        "kokoro-words",
        "kokoro-languages",
        "serving-model",
        "serving-api",
        "audio-only",
        "start-local",
        "start-host",
        "start-types",
        "start-ocr",
    ],
)
def test_a_repair_is_recorded(host: Host, name: str) -> None:
    release = json.loads(host.file(f"{CURRENT}/release.json").content_string)
    (patch,) = [patch for patch in release["patches"] if patch["name"] == name]
    file = host.check_output(f"echo {CURRENT}/env/lib/python3.*/site-packages/{patch['file']}")
    assert host.file(file).sha256sum == patch["after"]
    # pip and uv compare each file with its wheel's RECORD, which holds the digest in base64.
    code = (
        "import base64, hashlib, importlib.metadata, sys; "
        "(f,) = [f for f in importlib.metadata.files(sys.argv[1].split('/')[0]) if str(f) == sys.argv[1]]; "
        "d = hashlib.sha256(f.read_binary()).digest(); "
        "print(f.hash.value == base64.urlsafe_b64encode(d).rstrip(b'=').decode(), f.size == len(f.read_binary()))"
    )
    assert host.check_output(f"{CURRENT}/env/bin/python -B -c %s %s", code, patch["file"]) == "True True"


# --- recovery ---------------------------------------------------------------------------------------------------------


def restart(host: Host) -> None:
    host.check_output("systemctl restart %s", UNIT)


def kill_model(host: Host) -> None:
    """As the kernel does when memory runs out."""
    host.check_output("pkill --signal KILL --full '^Model: kokoro-rep0'")


def kill_service(host: Host) -> None:
    host.check_output("kill -KILL %s", show(host, "MainPID"))


def reboot(host: Host) -> None:
    subprocess.run(["docker", "restart", "--time", "60", host.backend.get_hostname()], check=True, capture_output=True)


@pytest.mark.parametrize("fall", [kill_model, kill_service, restart, reboot])
def test_the_service_recovers(host: Host, speaker: Speaker, fall: Callable[[Host], None]) -> None:
    assert speaker.ask().status == 200
    start = time.monotonic()
    fall(host)
    speaker.wait(900)
    seconds = round(time.monotonic() - start, 1)
    TIMES.parent.mkdir(parents=True, exist_ok=True)
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    TIMES.write_text(json.dumps({**times, fall.__name__: seconds}, indent=2) + "\n")
    print(f"The service spoke again after {seconds} s: {fall.__name__}.")
    # There is one service with one model process, and no former process is left.
    assert host.check_output("pgrep --count --full '^Model: kokoro-rep'") == "1"
    assert host.check_output("pgrep --count --full '^[^ ]*/python [^ ]*/bin/xinference-local'") == "1"
    assert ask(host, "shop") == 200
