# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor import diagnosis
from ansible_collections.voicefleet.kokoro.plugins.module_utils.doctor.failures import FAILURES

try:
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # before Python 3.11
    import sre_parse as parser  # type: ignore[no-redef]

FIXTURES = Path(__file__).parents[1] / "fixtures"
MESSAGES = json.loads((FIXTURES / "failure_messages.json").read_text(encoding="utf-8"))

# Messages in context: in Xinference's log, with colours, inside a longer line.
LONGER = [
    ("\x1b[31mxoscar.errors.ServerClosed\x1b[0m: [address=127.0.0.1:40913, pid=77] Remote server closed", "XI05"),
    ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate is not yet valid (_ssl.c:1006)", "TL05"),
    (
        "2026-11-22T16:57:21.251Z ERROR xinference.core.worker pid:616 OSError: [Errno 28] No space left on device",
        "OS01",
    ),
    ("[address=127.0.0.1:3, pid=4] [Errno 2] No such file or directory: '/opt/r/models/config.json'", "KM01"),
    ("[Errno 98] error while attempting to bind on address ('127.0.0.1', 9997)", "XI03"),
    ("HTTPSConnectionPool: Max retries exceeded with url: /x", "NW04"),
    ("voicefleet-xinference.service: Main process exited, code=exited, status=203/EXEC", "SD01"),
    ("x.service: Failed to load environment files: No such file or directory", "SD02"),
    ("x.service: Main process exited, code=exited, status=217/USER", "SD03"),
    ("x.service: Main process exited, code=exited, status=226/NAMESPACE", "SD04"),
    ("Out of memory: Killed process 631 (Model: kokoro-r) total-vm:9000kB", "OS05"),
    ("2026-11-22T17:09:46.237Z WARNING xinference.core.worker pid:7 Recreating model actor kokoro-rep0 ...", "XI05"),
    ("RuntimeError: Local cluster failed to start:", "XI01"),
    ("Model kokoro is not ready: not ready within 180 s; last answer: [Errno 111] Connection refused", "XI12"),
    ("Model kokoro is not ready: it is still LOADING after 180 s; last error: none is known", "XI12"),
    ("RuntimeError: [address=127.0.0.1:3, pid=9] Model kokoro-rep0 is in stopping state", "XI05"),
    ("Incorrect username or password", "XI06"),
    ("torch.AcceleratorError: CUDA error: out of memory", "GP05"),
    ("RuntimeError: CUDA error: unknown error", "GP11"),
    ("Error 999: unknown error (Triggered internally at CUDAFunctions.cpp:109.)", "GP11"),
    ("RuntimeError: No CUDA GPUs are available", "GP08"),
    ("RuntimeError: CUDA error: no CUDA-capable device is detected", "GP08"),
    ("CUDA error: all CUDA-capable devices are busy or unavailable", "GP20"),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", "GP21"),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "GP05"),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_ARCH_MISMATCH when calling `cublasSgemm`", "GP01"),
    ("RuntimeError: cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", "GP21"),
    ("RuntimeError: cuDNN error: CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH", "GP06"),
    ("NVRM: Xid (PCI:0000:3b:00): 31, pid=631, name=python", "GP22"),
    ("x.service: Main process exited, code=dumped, status=4/ILL", "PY16"),
    # Offline, versions exclude each other because others are not in the store.
    (
        "we can conclude that a==1 and b==2 are incompatible. hint: Packages were unavailable because the network was "
        "disabled.",
        "PY03",
    ),
    ("Fatal glibc error: CPU does not support x86-64-v2", "PY16"),
    ("OSError: cannot load library '/tmp/x/libespeak-ng.so'", "ES02"),
    ("RuntimeError: unexpected EOF, expected 812 more bytes. The file might be corrupted.", "HF08"),
    (
        "None: Max retries exceeded with url: /explosion/spacy-models/master/compatibility.json (Caused by"
        " NameResolutionError(\"None: Failed to resolve 'raw.githubusercontent.com' ([Errno -3] Temporary failure"
        ' in name resolution)"))',
        "SP01",
    ),
]


@pytest.mark.parametrize("code", sorted(MESSAGES))
def test_each_message_is_recognised_as_its_own_failure_and_as_nothing_else(code: str) -> None:
    assert [found.code for found in diagnosis.diagnose(MESSAGES[code])] == [code]


@pytest.mark.parametrize("code", sorted(MESSAGES))
def test_colours_and_actors_in_front_of_a_message_change_nothing(code: str) -> None:
    dressed = f"\x1b[1;31m[address=127.0.0.1:40913, pid=77] {MESSAGES[code]}\x1b[0m"
    [found] = diagnosis.diagnose(f"Traceback (most recent call last):\n{dressed}\n")
    assert found.code == code
    assert "\x1b" not in found.line
    assert "address=" not in found.line


@pytest.mark.parametrize(("message", "code"), LONGER)
def test_messages_in_real_surroundings_are_recognised(message: str, code: str) -> None:
    assert [found.code for found in diagnosis.diagnose(message)] == [code]


def test_every_known_failure_has_a_message_in_a_test() -> None:
    assert {failure.code for failure in FAILURES} == {*MESSAGES, *(code for _message, code in LONGER)}


def test_codes_are_unique_and_texts_are_sentences() -> None:
    codes = [failure.code for failure in FAILURES]
    assert len(codes) == len(set(codes))
    for failure in FAILURES:
        assert re.fullmatch(r"[A-Z]{2}\d\d", failure.code)
        re.compile(failure.pattern)
        for text in (failure.cause, failure.remedy):
            assert text[0].isupper() or text.split()[0] in text
            assert text.endswith("."), failure.code


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("healthy_*.log.xz")))
def test_logs_of_healthy_services_match_no_failure(name: str) -> None:
    lines = lzma.decompress((FIXTURES / name).read_bytes()).decode().splitlines()
    assert len(lines) > 20
    assert diagnosis.diagnose(lines) == []


def test_there_are_logs_of_healthy_services() -> None:
    assert len(list(FIXTURES.glob("healthy_*.log.xz"))) >= 2


def test_causes_stand_before_their_consequences() -> None:
    text = "xoscar.errors.ServerClosed: Remote server 1.2.3.4:5 closed\nOSError: [Errno 28] No space left on device"
    found = diagnosis.diagnose(text)
    assert [item.code for item in found] == ["OS01", "XI05"]
    assert [item.code for item in diagnosis.causes(found)] == ["OS01"]
    assert [item.code for item in diagnosis.causes(found[1:])] == ["XI05"]


def test_a_repeated_failure_is_one_finding() -> None:
    [found] = diagnosis.diagnose(["Permission denied: '/a'", "all is well", "Permission denied: '/b'"])
    assert (found.code, found.times, found.line) == ("OS02", 2, "Permission denied: '/a'")


def test_an_unknown_failure_gets_no_guess() -> None:
    assert diagnosis.diagnose("something else altogether") == []
    assert diagnosis.explain("something else altogether") == "something else altogether"


def test_a_request_that_quotes_a_failure_in_a_debug_line_is_not_a_failure() -> None:
    line = "2026-11-22T16:57:21.251Z DEBUG xinference.core.model pid:1 Enter speech, args: No space left on device"
    assert diagnosis.diagnose(line) == []


def test_a_message_is_explained_only_once() -> None:
    said = diagnosis.explain("uv failed:\ntunnel error: proxy authorization required")
    assert said.startswith("uv failed:\n")
    assert "\nWhat this means:\n  PX01: The proxy requires a user" in said
    assert diagnosis.explain(f"host-1: it failed. {said}") == f"host-1: it failed. {said}"


@pytest.mark.parametrize("known", ["", "No space left on device", diagnosis.HEADING])
def test_control_characters_of_a_service_do_not_reach_a_terminal(known: str) -> None:
    """Modules return this text, and Ansible prints the message of a failed module as it is."""
    said = diagnosis.explain(f"line\n\tbad \x1b]0;title\x07 \x9b31m \u2028 {known}")
    assert said.startswith(f"line\n\tbad \ufffd]0;title\ufffd \ufffd31m \ufffd {known}")
    [found] = diagnosis.diagnose("No space left on device \x1b]0;title\x07")
    assert found.line.isprintable()


def test_more_text_is_searched_only_if_the_message_matches_nothing() -> None:
    assert "OS01: " in diagnosis.explain("it failed", "No space left on device")
    both = diagnosis.explain("Permission denied", "No space left on device")
    assert "OS02: " in both
    assert "OS01: " not in both


def test_the_shown_line_holds_no_credentials() -> None:
    [found] = diagnosis.diagnose("Cannot connect to proxy http://kim:se%40cret@proxy:3128")
    assert found.line == "Cannot connect to proxy http://[hidden]@proxy:3128"


def repeats(tree: Any, outer: int = 1) -> Iterator[tuple[int, int]]:
    """Yield each repeat of a pattern: how often it may repeat, and how often the repeat around it may."""
    for operation, argument in tree:
        if "REPEAT" in str(operation):
            _least, most, inner = argument
            if most > 1:
                yield int(most), outer
            yield from repeats(inner, max(outer, int(most)))
        elif isinstance(argument, tuple):
            for part in argument:
                for branch in part if isinstance(part, list) else [part]:
                    if isinstance(branch, parser.SubPattern):
                        yield from repeats(branch, outer)


PATTERNS = [
    *(failure.pattern for failure in FAILURES),
    *(pattern.pattern for pattern in vars(diagnosis).values() if isinstance(pattern, re.Pattern)),
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_repeat_of_a_pattern_has_a_limit_and_none_is_nested(pattern: str) -> None:
    """So a line costs at most a number of steps in proportion to its length."""
    found = list(repeats(parser.parse(pattern)))
    assert [most for most, _outer in found if most > 1000] == []
    assert [outer for _most, outer in found if outer > 1] == []


def test_unlimited_and_nested_repeats_are_noticed() -> None:
    assert [most > 1000 for most, _outer in repeats(parser.parse("a(b|c[^d]*e)"))] == [True]
    assert [outer for _most, outer in repeats(parser.parse("(a{1,5}){2,7}"))] == [1, 7]


def test_only_the_start_of_a_line_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Pattern:
        def search(self, text: str) -> None:
            seen.append(len(text))

    monkeypatch.setattr(diagnosis, "_COMPILED", [(Pattern(), FAILURES[0])])
    assert diagnosis.diagnose(["x" * (1 << 20)]) == []
    assert seen == [diagnosis.LINE_READ]


@pytest.mark.parametrize("part", ["[address=", "\x1b[0;", "://a", "pid:1 role:", "[E053] Could not read ", "transfer."])
def test_a_line_of_a_megabyte_is_cut(part: str) -> None:
    line = part * (1 << 17)
    assert len(diagnosis.clean(line)) <= diagnosis.LINE_MOST
    assert diagnosis.recognise(line) is None


def test_every_message_repeated_to_a_megabyte_is_searched() -> None:
    for code, message in MESSAGES.items():
        half = message[: max(1, len(message) // 2)]
        diagnosis.recognise((half * (1 + (1 << 20) // len(half)))[: 1 << 20])
        found = diagnosis.recognise(message + half * ((1 << 20) // len(half)))
        assert found is not None, code
