# SPDX-License-Identifier: GPL-3.0-or-later
"""REST client of Xinference: no proxies, always limits of time and size, typed errors.

Requests go only to the given address. A proxy in the environment is ignored and redirects are not followed, so that a
credential never leaves the host. A rejected credential is never sent again: ten bad tokens within 300 seconds ban an
address for an hour (Xinference's ``api/oauth2/advanced/rate_limiter.py``).

The tests hold answers that were recorded from a running Xinference.
"""

from __future__ import annotations

import contextlib
import json
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from ..doctor import diagnosis
from ..host import direct
from ..host.hashing import parse_json

Json = dict[str, Any]
T = TypeVar("T")

READY = "READY"
ERROR = "ERROR"
MESSAGE_MOST = 4000  # characters of one message
ENDED = ("TERMINATED", "TERMINATING", ERROR)

MOST_BYTES = 16 << 20  # of one answer
# What reading an answer of another shape raises.
_ODD = (TypeError, KeyError, ValueError, AttributeError, ArithmeticError)


def clean(text: object) -> str:
    """Return a message of Xinference for people: without ``[address=..., pid=...]`` and control characters, cut."""
    return diagnosis.printable(diagnosis.plain("" if text is None else str(text)[:MESSAGE_MOST])).strip()


class XinferenceError(Exception):
    """Xinference refused or failed; ``status`` is the HTTP status, or 0 if there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(clean(message))
        self.status = status


class Unreachable(XinferenceError):
    """No answer in time: refused, hanging (as while Xinference starts), or a broken connection."""


class Unauthorized(XinferenceError):
    """401: the password, token or key is wrong or has expired. Do not try it again."""


class Forbidden(XinferenceError):
    """403: the credential is valid but not sufficient."""


class Banned(XinferenceError):
    """429: this address is banned after bad credentials, or a rate limit was reached."""


class BadRequest(XinferenceError):
    """400 and other 4xx: the request itself is wrong."""


class AlreadyRunning(BadRequest):
    """400: a model of this uid is running or being launched."""


class ServerError(XinferenceError):
    """5xx: Xinference failed; 503 while a model loads."""


class ProtocolError(XinferenceError):
    """The answer is not from Xinference: not JSON, or of another form. Another service may use the port."""


def _error_of(status: int, message: str) -> XinferenceError:
    kinds: dict[int, type[XinferenceError]] = {401: Unauthorized, 403: Forbidden, 429: Banned}
    if status == 400 and "already in the model list" in message:
        return AlreadyRunning(message, status)
    if status in kinds:
        return kinds[status](message, status)
    return (ServerError if status >= 500 else BadRequest)(message, status)


def base_url(host: str, port: int) -> str:
    """Return the URL of a service that listens on an address; use loopback if it listens on all addresses."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass(frozen=True)
class Instance:
    """A model as Xinference reports it: its state, and for each replica where it runs and why it failed.

    ``status`` is one of CREATING, LOADING, UPDATING, READY, TERMINATING, ERROR. ``errors`` holds cleaned messages of
    failed replicas. ``workers`` holds the addresses ``host:port`` of running replicas, and ``ready`` those of READY
    ones. ``replica_ids`` holds the numbers of replicas that run or start.
    """

    uid: str
    name: str
    status: str
    replicas: int
    workers: tuple[str, ...]
    errors: tuple[str, ...]
    replica_ids: tuple[int, ...] = (0,)
    ready: tuple[str, ...] = ()

    @classmethod
    def parse(cls, data: Json) -> Instance:
        """Read one element of ``GET /v1/models/instances``. Raises an error of _ODD if it is something else."""
        replicas = data.get("replica_statuses") or []
        return cls(
            uid=str(data["model_uid"]),
            name=str(data["model_name"]),
            status=str(data["status"]),
            replicas=int(data.get("replica") or 0),
            workers=tuple(str(item["worker_address"]) for item in replicas if item.get("worker_address")),
            errors=tuple(clean(item["error_message"]) for item in replicas if item.get("error_message")),
            replica_ids=tuple(int(item["replica_id"]) for item in replicas if item.get("status") not in ENDED),
            ready=tuple(
                str(item["worker_address"])
                for item in replicas
                if item.get("worker_address") and item.get("status") == READY
            ),
        )


class XinferenceClient:
    """One Xinference at ``http://host:port``. ``token`` is an API key, or a user's token after :meth:`login`.

    ``timeout`` is in seconds and limits each request as a whole. All methods raise :class:`XinferenceError`.
    """

    def __init__(self, base_url: str, token: str | None = None, timeout: float = 10.0) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._token = token
        self._rejected: Unauthorized | None = None

    # -- transport

    def _send(
        self, method: str, path: str, body: Json | None = None, authorized: bool = True, timeout: float | None = None
    ) -> bytes:
        if authorized and self._rejected is not None:
            raise self._rejected
        headers = {"Accept": "application/json"}
        if authorized and self._token is not None:
            headers["Authorization"] = "Bearer " + self._token
        data = None
        if body is not None:
            data = json.dumps(body).encode("utf-8")
            headers["Content-Type"] = "application/json"
        url = self.base_url + path
        try:
            answer = direct.ask(method, url, timeout or self.timeout, MOST_BYTES, headers, data)
        except direct.PeerError as error:
            raise Unreachable(f"{method} {url}: the service {error}") from None
        if answer.good:
            return answer.data
        failure = _error_of(answer.status, self._detail(answer))
        if authorized and isinstance(failure, Unauthorized):
            self._rejected = failure
        raise failure

    @staticmethod
    def _detail(answer: direct.Answer) -> str:
        """Return FastAPI's ``detail`` of an error answer, or the start of its text."""
        text = answer.data.decode("utf-8", "replace")
        with contextlib.suppress(ValueError, TypeError, KeyError):
            text = str(parse_json(text)["detail"])
        return text.strip()[:MESSAGE_MOST] or f"HTTP {answer.status} {answer.reason}"

    def _json(
        self, method: str, path: str, body: Json | None = None, authorized: bool = True, timeout: float | None = None
    ) -> Any:
        data = self._send(method, path, body, authorized, timeout)
        try:
            return parse_json(data.decode("utf-8"))
        except ValueError:
            start = data[:80].decode("utf-8", "replace")
            raise ProtocolError(
                f"{method} {self.base_url}{path} answered something other than JSON: {start!r}"
            ) from None

    def _field(self, kind: Callable[[Any], T], key: str, method: str, path: str, *more: Any, **options: Any) -> T:
        """Return one field of an answer, as ``kind`` makes it. Raises :class:`ProtocolError` if that fails."""
        answer = self._json(method, path, *more, **options)
        try:
            return kind(answer[key])
        except _ODD:
            raise ProtocolError(f"{self.base_url}{path} gave no {key}, so it is not Xinference's") from None

    # -- readiness

    def status(self, timeout: float = 2.0) -> Json:
        """``GET /status``, open to all: ``{"uptime": int, "workers": {"host:port": {...}}}``."""
        answer = self._json("GET", "/status", authorized=False, timeout=timeout)
        if not isinstance(answer, dict) or not isinstance(answer.get("workers"), dict):
            raise ProtocolError(f"{self.base_url}/status is not Xinference's")
        return answer

    def wait_ready(
        self,
        timeout: float,
        watch: Callable[[], None] | None = None,
        poll: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Json:
        """Wait until the service answers and has a worker; return its status.

        The port first refuses, then accepts and hangs until the service is ready. ``watch`` is called after each
        failed try and may raise to end the wait early. Raises :class:`Unreachable` after ``timeout`` seconds.
        """
        end = clock() + timeout
        while True:
            try:
                answer = self.status(timeout=min(2.0, max(0.1, end - clock())))
                if answer["workers"]:
                    return answer
                last: XinferenceError = Unreachable("the service answers, but no worker has registered yet")
            except (Unreachable, ServerError) as error:
                last = error
            if clock() >= end:
                raise Unreachable(f"not ready within {timeout:g} s; last answer: {last}")
            if watch is not None:
                watch()
            sleep(poll)

    # -- credentials

    def login(self, username: str, password: str) -> None:
        """Get a user's token, valid for 30 minutes (``POST /token``, JSON). Raises :class:`Unauthorized`."""
        account = {"username": username, "password": password}
        self._token = self._field(str, "access_token", "POST", "/token", account, authorized=False)
        self._rejected = None

    # -- models

    def instances(self, uid: str | None = None) -> list[Instance]:
        """Return the instances of one model or of all; empty if it is unknown or stopped. An API key is enough."""
        query = "" if uid is None else "?" + urllib.parse.urlencode({"model_uid": uid})
        answer = self._json("GET", f"/v1/models/instances{query}")
        try:
            return [Instance.parse(item) for item in answer]
        except _ODD:
            raise ProtocolError(f"{self.base_url}/v1/models/instances is not Xinference's") from None

    def models(self) -> list[Json]:
        """Return the models that serve, as OpenAI's ``GET /v1/models`` does. An API key is enough."""
        return self._field(list, "data", "GET", "/v1/models")

    def launch(self, payload: Json, timeout: float) -> str:
        """Launch a model, wait until it is ready and return its uid. Needs a user's token.

        ``payload`` is that of ``POST /v1/models``: model_name, model_type (its default is LLM), model_uid, ...
        Waiting here returns the launch's own error. Without waiting, some failures leave no trace in :meth:`instances`.
        Raises :class:`AlreadyRunning` if the uid runs or is being launched, and :class:`Unreachable` after
        ``timeout`` seconds.
        """
        return self._field(str, "model_uid", "POST", "/v1/models?wait_ready=true", payload, timeout=timeout)

    def add_replica(self, uid: str, worker: str, label: str, timeout: float) -> None:
        """Add a replica on one worker (``host:port``) and wait until it is ready. Needs a user's token.

        It is launched like the first one. ``label`` is new, because the default may belong to a stopped replica.
        Raises :class:`XinferenceError` with the launch's own error.
        """
        config = {"replica_uid": label, "devices": [{"worker_ip": worker, "n_gpu": "auto"}]}
        body = {"replica": 1, "replica_config": config}
        self._send("POST", f"/v1/models/{urllib.parse.quote(uid, safe='')}/replicas", body, timeout=timeout)

    def terminate(self, uid: str) -> None:
        """Stop a model; requests in flight are lost. Needs a user's token. Raises BadRequest if it is unknown."""
        self._send("DELETE", f"/v1/models/{urllib.parse.quote(uid, safe='')}")

    def progress(self, uid: str) -> float:
        """Return how far a model is loaded, 0 to 1. An API key is enough.

        Also 0 for an unknown model, and for one that has been ready for some minutes (core/progress_tracker.py).
        """
        path = f"/v1/models/{urllib.parse.quote(uid, safe='')}/progress"
        return min(1.0, max(0.0, self._field(float, "progress", "GET", path)))

    def add_replicas(self, uid: str, count: int, timeout: float) -> None:
        """Add replicas of a running model with its own parameters, and wait until they serve. Needs a user's token."""
        path = f"/v1/models/{urllib.parse.quote(uid, safe='')}/replicas"
        self._json("POST", path, {"replica": count}, timeout=timeout)

    def remove_replica(self, uid: str, number: int) -> None:
        """Stop one replica; requests in flight on it are lost. Needs a user's token."""
        self._send("DELETE", f"/v1/models/{urllib.parse.quote(uid, safe='')}/replicas/{number}")

    def autostart(self) -> list[Json]:
        """Return the autostart entries with their ``state`` (status, attempts, last_error). Needs a user's token."""
        return self._field(list, "models", "GET", "/v1/autostart/models")
