# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile the byte code of a release, without the files that a speech service never loads.

All packages have 25,000 files, and the service loads 7,600 of them. Python also imports a file without byte code: it
compiles the file in memory, at each start. So a wrong entry here costs time and breaks nothing.
``bench/bytecode.py`` measures what compiling costs, and what a running service has loaded.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable

# Skip every folder of this name: tests of the packages.
TESTS = "tests"
# Skip these folders below site-packages, each with all that is in it. Behind each: seconds of CPU to compile it.
SKIPPED = frozenset({
    "modelscope",  # 5.4: another model hub
    "networkx",  # 1.4: for torch.compile
    "openai/resources",  # 0.6: a client
    "peft",  # 0.7: fine-tuning
    "pygments/lexers",  # 0.7
    "sympy/physics",  # 1.1
    "sympy/stats",  # 0.3
    "torch/_inductor/codegen",  # 0.8: for torch.compile
    "torch/_inductor/fx_passes",  # 0.4
    "torch/_inductor/kernel",  # 0.1
    "torch/_vendor/quack",  # 0.3
    "torch/testing/_internal",  # 1.3
    "transformers/models",  # 7.6
    "xinference/thirdparty",  # 3.2: other models
})  # fmt: skip
# Compile these all the same: Kokoro and the transcriber load them.
KEPT = frozenset({
    "pygments/lexers/__init__.py", "pygments/lexers/_mapping.py",
    "transformers/models/__init__.py", "transformers/models/albert", "transformers/models/auto",
    "transformers/models/bert", "transformers/models/bert_japanese", "transformers/models/camembert",
    "transformers/models/roberta", "transformers/models/whisper", "transformers/models/xlm_roberta",
})  # fmt: skip

# How Python learns that byte code is stale. On hosts: by the source's time. In images: never, as nobody changes them.
BY_TIME = "TIMESTAMP"
NEVER = "UNCHECKED_HASH"

# Byte code depends on what its process compiled before, and on what it still holds. So each share of files has a
# process of its own that never collects garbage, and the number of shares does not depend on the machine.
SHARES = 8
SECONDS = 1800
COMPILER = """
import gc, py_compile, sys
gc.disable()
mode = py_compile.PycInvalidationMode[sys.argv[1]]
for path in sys.stdin.read().split("\\0"):
    try:
        py_compile.compile(path, doraise=True, invalidation_mode=mode)
    except (py_compile.PyCompileError, SyntaxError, ValueError, RecursionError, FileNotFoundError):
        pass  # a template, code for another Python, or a link that leads nowhere
    except OSError as error:
        sys.exit(str(error))
"""


class CompileError(Exception):
    """Byte code could not be written; the message says why."""


def is_wanted(path: str) -> bool:
    """Whether to compile a file; ``path`` is relative to the packages' folder."""
    parts = path.split("/")
    above = {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return TESTS not in parts[:-1] and (not above & SKIPPED or bool(above & KEPT))


def sources(folder: str) -> list[str]:
    """Every Python file below a folder that is worth compiling, sorted. Byte code that is there already is removed."""
    found = []
    for parent, names, files in os.walk(folder):
        if "__pycache__" in names:
            shutil.rmtree(os.path.join(parent, "__pycache__"))
            names.remove("__pycache__")
        inner = f"{parent}/".partition("/site-packages/")[2]
        found += [os.path.join(parent, file) for file in files if file.endswith(".py") and is_wanted(inner + file)]
    return sorted(found)


def compile_files(python: str, files: list[str], stale: str) -> None:
    """Compile some files on all cores; ``stale`` is BY_TIME or NEVER. Raises CompileError, OSError.

    If the caller is killed, the compilers still hold its inheritable locks until they end, as uv does.
    """
    command = [python, "-S", "-B", "-W", "ignore", "-c", COMPILER, stale]
    waiting = [files[share::SHARES] for share in range(SHARES) if files[share::SHARES]]
    running: list[subprocess.Popen[bytes]] = []
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                running.append(_start(command, waiting.pop(0)))
            if running[0].wait(SECONDS) != 0:
                said = running[0].stderr.read().decode("utf-8", "replace").strip() if running[0].stderr else ""
                raise CompileError(f"{python} could not compile the packages: {said[-500:] or running[0].returncode}")
            _end(running.pop(0))
    except subprocess.TimeoutExpired:
        raise CompileError(f"{python} did not compile the packages within {SECONDS} s") from None
    finally:
        for process in running:
            _end(process)


def _start(command: list[str], files: Iterable[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", close_fds=False,
        env={"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    if process.stdin is None:
        raise AssertionError("there is a pipe")
    with contextlib.suppress(BrokenPipeError):  # it ended; its status says so
        process.stdin.write("\0".join(files).encode(errors="surrogateescape"))
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stderr:
        process.stderr.close()
