# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for a model and launch it, with a client that simulates a sequence of events."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.host import systemd_unit
from ansible_collections.voicefleet.kokoro.plugins.module_utils.xinference import api, launch as xinference_launch

PAYLOAD = {
    "model_name": "Kokoro-82M",
    "model_type": "audio",
    "model_uid": "kokoro",
    "model_path": "/r/1",
    "lang_code": "a",
}
WORKER = "127.0.0.1:53193"


def instance(status: str, *errors: str) -> api.Instance:
    return api.Instance("kokoro", "Kokoro-82M", status, 1, (WORKER,), errors)


class FakeClient:
    """Return one instance after another, then repeat the last one. The effect of a launch is given."""

    def __init__(self, course: list[Any], launch: Any = None) -> None:
        self.course = course
        self.on_launch = launch
        self.calls: list[str] = []

    def wait_ready(self, *_args: Any, **_kwargs: Any) -> dict[str, Any]:
        return {"workers": {WORKER: {}}}

    def instances(self, _uid: str) -> list[api.Instance]:
        now = self.course.pop(0) if len(self.course) > 1 else self.course[0]
        return [] if now is None else [now]

    def launch(self, payload: dict[str, Any], timeout: float) -> str:
        assert payload == PAYLOAD
        assert timeout > 0
        self.calls.append("launch")
        if isinstance(self.on_launch, Exception):
            raise self.on_launch
        self.course = self.on_launch or [instance("READY")]
        return "kokoro"

    def terminate(self, uid: str) -> None:
        self.calls.append("terminate " + uid)

    def progress(self, uid: str) -> float:
        return 0.45

    def add_replicas(self, uid: str, count: int, timeout: float) -> None:
        self.calls.append(f"add {count}")

    def remove_replica(self, uid: str, number: int) -> None:
        self.calls.append(f"remove {number}")

    def autostart(self) -> list[dict[str, Any]]:
        self.calls.append("autostart")
        return [{"launch": {"model_uid": "kokoro"}, "state": {"last_error": "[address=x:1, pid=2] it broke"}}]


class FakeUnit:
    name = "x.service"

    def __init__(self, *states: dict[str, str]) -> None:
        self.states = list(states) or [{"ActiveState": "active", "NRestarts": "0"}]
        self.lines = ["line of the journal"]

    def show(self) -> dict[str, str]:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def journal(self) -> list[str]:
        return self.lines


def keeper(client: FakeClient, home: Path, unit: Any = None) -> xinference_launch.Keeper:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return xinference_launch.Keeper(
        client,  # type: ignore[arg-type]
        lambda: client.calls.append("login"),
        unit or FakeUnit(),
        PAYLOAD,
        str(home),
        clock=lambda: now[0],
        sleep=sleep,
    )


def record(home: Path, **fields: Any) -> None:
    folder = home / "worker_recovery" / "127.0.0.1_53193"
    folder.mkdir(parents=True, exist_ok=True)
    launched = {"model_path": "/r/1", "lang_code": "a", "n_gpu": "auto", "gpu_idx": None, **fields}
    (folder / "models.json").write_text(json.dumps({"other-rep0": {}, "kokoro-rep0": launched}))


def test_a_ready_model_is_left_alone(tmp_path: Path) -> None:
    record(tmp_path)
    client = FakeClient([instance("READY")])
    outcome = keeper(client, tmp_path).ensure(180)
    assert (outcome.changes, outcome.workers, outcome.waited) == ([], (WORKER,), 0.0)
    # Not even a login, whose bcrypt takes a quarter of a second.
    assert client.calls == []


def test_the_module_waits_for_autostart(tmp_path: Path) -> None:
    client = FakeClient([None, None, *[instance("CREATING")] * 30, instance("READY")])
    outcome = keeper(client, tmp_path).ensure(180)
    assert outcome.changes == []
    assert outcome.waited == pytest.approx(16)
    assert client.calls == []


def test_an_absent_model_is_launched_after_a_grace_period(tmp_path: Path) -> None:
    client = FakeClient([None])
    outcome = keeper(client, tmp_path).ensure(180)
    assert outcome.changes == ["launched (autostart had not)"]
    assert outcome.waited >= xinference_launch.ABSENT_GRACE
    assert client.calls == ["login", "launch"]


def test_a_model_in_error_is_launched(tmp_path: Path) -> None:
    client = FakeClient([instance("ERROR", "old fault")])
    assert keeper(client, tmp_path).ensure(180).changes == ["launched (it was in state ERROR)"]


def test_a_failure_during_the_wait_is_final(tmp_path: Path) -> None:
    client = FakeClient([instance("CREATING"), instance("ERROR", "no spaCy model")])
    with pytest.raises(xinference_launch.ModelError, match="^no spaCy model$"):
        keeper(client, tmp_path).ensure(180)
    assert "launch" not in client.calls


def test_a_failure_without_a_message_gets_that_of_autostart(tmp_path: Path) -> None:
    client = FakeClient([instance("CREATING"), instance("ERROR")])
    with pytest.raises(xinference_launch.ModelError, match="^it broke$"):
        keeper(client, tmp_path).ensure(180)


def test_a_failed_launch_reports_its_own_error(tmp_path: Path) -> None:
    client = FakeClient([instance("ERROR", "old")], launch=api.ServerError("[address=a:1, pid=2] new fault", 500))
    with pytest.raises(api.ServerError, match="^new fault$"):
        keeper(client, tmp_path).ensure(180)


def test_a_model_that_ends_right_after_its_launch_is_launched_only_once(tmp_path: Path) -> None:
    client = FakeClient([instance("ERROR", "old")], launch=[instance("ERROR", "again")])
    with pytest.raises(xinference_launch.ModelError, match="it broke"):
        keeper(client, tmp_path).ensure(180)
    assert client.calls.count("launch") == 1


def test_autostart_may_launch_before_the_module(tmp_path: Path) -> None:
    client = FakeClient([None], launch=api.AlreadyRunning("already", 400))
    one = keeper(client, tmp_path)

    def login() -> None:
        client.course = [instance("CREATING"), instance("READY")]

    one.login = login
    assert one.ensure(180).changes == []


def test_other_parameters_launch_the_model_again(tmp_path: Path) -> None:
    record(tmp_path, model_path="/r/0", lang_code="b")
    client = FakeClient([instance("READY")])
    outcome = keeper(client, tmp_path).ensure(180)
    assert outcome.changes == ["launched again with other model_path, lang_code"]
    assert client.calls == ["login", "terminate kokoro", "launch"]


@pytest.mark.parametrize(
    ("asked", "given", "differs"),
    [
        (None, [1], False),  # Xinference chose the GPU
        ([0, 1], [1], False),  # this replica's share
        (1, [1], False),
        ([0], [1], True),
        ([0, 1], None, True),
        (None, None, False),
    ],
)
def test_a_replica_keeps_its_gpu(asked: object, given: object, differs: bool) -> None:
    wanted = {"model_path": "/r/1", **({"gpu_idx": asked} if asked is not None else {})}
    found = xinference_launch.differences(wanted, {"model_path": "/r/1", "gpu_idx": given})
    assert found == (["gpu_idx"] if differs else [])


def test_unknown_parameters_count_as_wanted(tmp_path: Path) -> None:
    assert keeper(FakeClient([instance("READY")]), tmp_path).ensure(180).changes == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        pytest.param("[" * 100_000, id="deep"),
        '{"kokoro-rep0": 3}',
        '{"kokoro-2-rep0": {"model_path": "/x"}}',
    ],
)
def test_a_damaged_record_counts_as_missing(tmp_path: Path, text: str) -> None:
    record(tmp_path)
    (tmp_path / "worker_recovery" / "127.0.0.1_53193" / "models.json").write_text(text)
    assert xinference_launch.launched_with(str(tmp_path), "kokoro", (WORKER,)) is None


def test_a_linked_record_is_not_followed(tmp_path: Path) -> None:
    record(tmp_path)
    path = tmp_path / "worker_recovery" / "127.0.0.1_53193" / "models.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert xinference_launch.launched_with(str(tmp_path), "kokoro", (WORKER,)) is None


def test_the_message_of_the_time_limit_names_the_last_state(tmp_path: Path) -> None:
    client = FakeClient([instance("CREATING")])
    one = keeper(client, tmp_path)
    with pytest.raises(xinference_launch.ModelError, match=r"still CREATING after 20 s .*; last error: it broke"):
        one.ensure(20)
    rest = r"still CREATING after 20 s, the rest of the 180 s for all models \("
    with pytest.raises(xinference_launch.ModelError, match=rest):
        keeper(client, tmp_path).ensure(20, 180)


@pytest.mark.parametrize("active", ["failed", "inactive"])
def test_a_stopped_service_ends_the_wait(tmp_path: Path, active: str) -> None:
    unit = FakeUnit({"ActiveState": active, "Result": "exit-code", "ExecMainStatus": "3"})
    with pytest.raises(xinference_launch.ModelError, match=rf"x.service is {active} \(result exit-code, status 3\)"):
        keeper(FakeClient([None]), tmp_path, unit).ensure(180)


def test_a_service_that_keeps_restarting_ends_the_wait(tmp_path: Path) -> None:
    states = [{"ActiveState": "activating", "NRestarts": str(count)} for count in (7, 8, 9)]
    with pytest.raises(xinference_launch.ModelError, match="keeps ending: 2 restarts"):
        keeper(FakeClient([None]), tmp_path, FakeUnit(*states)).ensure(180)


def test_one_restart_does_not_end_the_wait(tmp_path: Path) -> None:
    states = [{"ActiveState": "active", "NRestarts": str(count)} for count in (7, 8)]
    client = FakeClient([instance("CREATING")] * 20 + [instance("READY")])
    assert keeper(client, tmp_path, FakeUnit(*states)).ensure(180).changes == []


def write_log(home: Path, *lines: str) -> Path:
    (home / "logs").mkdir()
    path = home / "logs" / "xinference.log"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_errors_of_the_log_are_new_cleaned_and_reported_once(tmp_path: Path) -> None:
    path = write_log(
        tmp_path,
        "2026-01-01T10:00:00.000Z ERROR xinference old",
        "OldError: gone",
        "2026-01-01T12:00:00.000Z INFO xinference fine",
        "2026-01-01T12:00:01.000Z ERROR xinference Leave launch, error: [address=127.0.0.1:1, pid=2] broken",
        "Traceback (most recent call last):",
        '  File "x.py", line 1, in load',
        "requests.exceptions.ConnectionError: [address=127.0.0.1:1, pid=2] no way out",
        "requests.exceptions.ConnectionError: [address=127.0.0.1:3, pid=4] no way out",
    )
    assert xinference_launch.log_faults(str(path), "2026-01-01T11:00:00") == [
        "2026-01-01T12:00:01.000Z ERROR xinference Leave launch, error: broken",
        "requests.exceptions.ConnectionError: no way out",
    ]
    assert xinference_launch.log_faults(str(tmp_path / "none"), "2026") == []


def test_log_lines_since_a_time_include_their_continuation_lines(tmp_path: Path) -> None:
    log, since = tmp_path / "xinference.log", "2026-01-01T11:00:00"
    log.write_text("2026-01-01T10:00:00.000Z old\nold trace\n2026-01-01T12:00:00.000Z new\nnew trace\n")
    assert xinference_launch.log_lines(str(log), since, 1 << 20) == ["2026-01-01T12:00:00.000Z new", "new trace"]
    assert xinference_launch.log_lines(str(tmp_path / "none"), since, 1 << 20) == []


def test_the_whole_message_names_cause_remedy_and_lines(tmp_path: Path) -> None:
    future = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 60))
    write_log(tmp_path, f"{future}.000Z ERROR xinference.core.worker Failed to load model kokoro-rep0")
    error = xinference_launch.ModelError(
        "Max retries exceeded with url: /explosion/spacy-models/master/compatibility.json"
    )
    text = keeper(FakeClient([None]), tmp_path).explain(error)
    assert text.startswith("Model kokoro is not ready: Max retries")
    assert text.index("line of the journal") < text.index("What this means:") < text.index("SP01: ")
    assert "the tarball of en_core_web_sm" in text
    assert "  line of the journal" in text
    assert "Failed to load model kokoro-rep0" in text


def test_the_journal_explains_a_failure_without_known_cause(tmp_path: Path) -> None:
    unit = FakeUnit()
    unit.lines = ["OSError: [Errno 28] No space left on device", "x.service: Failed with result 'exit-code'."]
    text = keeper(FakeClient([None]), tmp_path, unit).explain(xinference_launch.ModelError("x.service is failed"))
    assert "OS01: A file system is full." in text


def test_what_the_service_wrote_holds_no_control_characters(tmp_path: Path) -> None:
    """A client's text can be in the service's log, and Ansible prints the message as it is."""
    future = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 60))
    write_log(tmp_path, f"{future}.000Z ERROR xinference.core.worker text \x1b]0;title\x07")
    unit = FakeUnit()
    unit.lines = ["journal \x1b]8;;http://x\x07"]
    text = keeper(FakeClient([None]), tmp_path, unit).explain(xinference_launch.ModelError("bad \x9b31m"))
    assert all(line.isprintable() for line in text.split("\n"))
    assert "text \ufffd]0;title\ufffd" in text


def test_the_units_state_is_read_rarely(tmp_path: Path) -> None:
    asked = []

    class Counting(FakeUnit):
        def show(self) -> dict[str, str]:
            asked.append(1)
            return super().show()

    client = FakeClient([instance("CREATING")] * 20 + [instance("READY")])
    keeper(client, tmp_path, Counting()).ensure(180)
    assert len(asked) <= 6


def test_the_real_unit_fits_the_keeper() -> None:
    assert {"name", "show", "journal"} <= set(dir(systemd_unit.Unit("x.service")))


def test_the_course_of_a_wait_is_reported(tmp_path: Path) -> None:
    client = FakeClient([None, None, *[instance("CREATING")] * 4, instance("READY")])
    outcome = keeper(client, tmp_path).ensure(180)
    assert outcome.course == ["0 s: absent", "1 s: CREATING, 40 %", "3 s: READY"]
    with pytest.raises(xinference_launch.ModelError, match=r"still CREATING after 5 s \(0 s: CREATING, 40 %\)"):
        keeper(FakeClient([instance("CREATING")]), tmp_path).ensure(5)


@pytest.mark.parametrize(
    ("running", "wanted", "calls", "said"),
    [
        ((0,), 3, ["login", "add 2"], ["1 replicas run, 3 are wanted"]),
        ((0, 2, 5), 1, ["login", "remove 2", "remove 5"], ["3 replicas run, 1 are wanted"]),
        ((4,), 1, [], []),
    ],
)
def test_replicas_come_and_go_while_the_others_serve(
    tmp_path: Path, running: tuple[int, ...], wanted: int, calls: list[str], said: list[str]
) -> None:
    now = api.Instance("kokoro", "Kokoro-82M", "READY", 1, (WORKER,), (), running)
    client = FakeClient([now])
    one = keeper(client, tmp_path)
    one.replicas = wanted
    assert one.unscaled(now) == said
    outcome = one.ensure(180)
    assert (outcome.changes, client.calls) == (said, calls)


def test_a_model_is_stopped_and_the_module_waits_for_its_end(tmp_path: Path) -> None:
    client = FakeClient([instance("READY"), instance("TERMINATING"), None])
    assert keeper(client, tmp_path).end(60).changes == ["stopped"]
    assert client.calls == ["login", "terminate kokoro"]
    for gone in (None, instance("ERROR", "a launch that failed")):
        absent = FakeClient([gone])
        assert keeper(absent, tmp_path).end(60).changes == []
        assert absent.calls == []
    with pytest.raises(xinference_launch.ModelError, match="still exists 60 s"):
        keeper(FakeClient([instance("TERMINATING")]), tmp_path).end(60)


# --- a cluster

WORKERS = ("10.0.0.11:30001", "10.0.0.12:30001")


class FakeCluster(FakeClient):
    """A supervisor. Workers register one after another. An added replica is READY at once, or not at all."""

    def __init__(self, registered: list[tuple[str, ...]], ready: tuple[str, ...] = (), dies: bool = False) -> None:
        super().__init__([None])
        self.registered = registered
        self.ready = ready
        self.dies = dies

    def status(self) -> dict[str, Any]:
        now = self.registered.pop(0) if len(self.registered) > 1 else self.registered[0]
        return {"workers": {worker: {} for worker in now}}

    def instances(self, _uid: str) -> list[api.Instance]:
        return [api.Instance("kokoro", "Kokoro-82M", "READY", len(self.ready), WORKERS, (), ready=self.ready)]

    def add_replica(self, uid: str, worker: str, label: str, timeout: float) -> None:
        assert (uid, timeout > 0) == ("kokoro", True)
        assert label.startswith("kokoro-" + worker.replace(".", "-").replace(":", "-") + "-")
        self.calls.append("add " + worker)
        if not self.dies:
            self.ready += (worker,)


def cluster_keeper(client: FakeCluster, home: Path) -> xinference_launch.Keeper:
    made = keeper(client, home)
    made.workers = WORKERS
    return made


def test_a_replica_on_each_worker_is_left_alone(tmp_path: Path) -> None:
    client = FakeCluster([WORKERS], WORKERS)
    assert cluster_keeper(client, tmp_path).ensure(180).changes == []
    assert client.calls == []


def test_a_worker_without_a_replica_gets_one(tmp_path: Path) -> None:
    client = FakeCluster([WORKERS], WORKERS[:1])
    outcome = cluster_keeper(client, tmp_path).ensure(180)
    assert outcome.changes == ["replica added on 10.0.0.12:30001"]
    assert client.calls == ["login", "add 10.0.0.12:30001"]


def test_the_module_waits_for_workers(tmp_path: Path) -> None:
    client = FakeCluster([(), WORKERS[:1], WORKERS[:1], WORKERS], WORKERS)
    assert cluster_keeper(client, tmp_path).ensure(180).waited == pytest.approx(1.5)


def test_a_worker_that_does_not_register_is_named(tmp_path: Path) -> None:
    with pytest.raises(xinference_launch.ModelError, match="workers 10.0.0.12:30001 have not registered"):
        cluster_keeper(FakeCluster([WORKERS[:1]], WORKERS[:1]), tmp_path).ensure(20)


def test_a_replica_that_ends_at_once_is_added_only_once(tmp_path: Path) -> None:
    client = FakeCluster([WORKERS], WORKERS[:1], dies=True)
    with pytest.raises(xinference_launch.ModelError, match="ended again right after"):
        cluster_keeper(client, tmp_path).ensure(180)
    assert client.calls == ["login", "add 10.0.0.12:30001"]
