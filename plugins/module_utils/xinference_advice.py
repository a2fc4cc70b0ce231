# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about a known failure of the service or of a launch, in plain words.

The messages were seen with xinference 4.1.0, kokoro 0.9.4, misaki 0.9.4 and spaCy 3.8. The first match wins: causes
stand before the general signs that they also bring about.
"""

from __future__ import annotations

import re

ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"spacy-models/master/compatibility\.json|Couldn't fetch compatibility table|No compatible packages? found for"
        r"|\[E050\] Can't find model",
        "Kokoro turns English text into phonemes with the spaCy model en_core_web_sm. The release lacks it, so GitHub"
        " is asked, which no air-gapped host reaches. Bring en_core_web_sm-3.8.0.tar.gz into the store (fetch.yml on a"
        " connected machine), then deploy again",
    ),
    (
        r"No such file or directory: '[^']*(config\.json|kokoro-v1_0\.pth)'|model_path`?: .* does not exist",
        "The model's folder is incomplete or missing: it needs config.json, kokoro-v1_0.pth and voices/*.pt. Deploy"
        " again; if it stays so, check xinference_model_path",
    ),
    (
        r"invalid load key|PytorchStreamReader|unexpected EOF, expected",
        "The weights or a voice are damaged or are not PyTorch files (a saved error page?). Verify the store with"
        " store_verify, then deploy again",
    ),
    (
        r"Error processing file '.*espeak-ng-data/phontab'",
        "A path of 160 characters or more is too long for espeak-ng's data. Choose a shorter root folder",
    ),
    (
        r"failed to map segment from shared object|cannot load library '.*libespeak-ng",
        "A library can't be run from the service's temporary folder: the file system of xinference_home is mounted"
        " noexec. Mount it with exec or move xinference_home",
    ),
    (
        r"Device \S+ is not available!|CUDA requested but not available|NVIDIA driver on your system is too old"
        r"|CUDA driver version is insufficient",
        "The GPU can't be used: check nvidia-smi, the driver's version against the release's CUDA, and that"
        " xinference_devices names the GPU's device nodes",
    ),
    (r"CUDA out of memory", "The GPU's memory is full: nvidia-smi shows by whom"),
    (r"No available slot found for the model", "All GPUs are taken by other models of this Xinference"),
    (
        r"\[Errno 98\]|[Aa]ddress already in use|Cannot listen on",
        "Another process holds the port: ss -ltnp shows which. Stop it, or choose another xinference_port",
    ),
    (
        r"Could not validate credentials|Incorrect username or password|Not authenticated",
        "Xinference does not accept the stored credentials. Run the role again: it puts accounts and keys right",
    ),
    (
        r"temporarily banned|Too many failed attempts",
        "Xinference bans an address for an hour after ten bad credentials. Find the client that sends them"
        " (logs/audit.log); a restart of the service lifts the ban",
    ),
    (r"[Oo]ut of memory|oom-kill|MemoryError", "Memory ran out: raise xinference_memory_max or give the host more"),
    (r"No space left on device", "The disk is full: df -h; logs and temporary files lie below xinference_home"),
    (r"Read-only file system", "The service wrote outside its home, where its unit forbids it"),
    (
        r"Permission denied|Failed to read or create secret file",
        "The service's user does not own a file below its home",
    ),
    (r"status=203/EXEC|203/EXEC", "The release's xinference-local can't be run: the release is missing or damaged"),
    (
        r"Temporary failure in name resolution|Failed to resolve|Network is unreachable|Max retries exceeded",
        "Something wanted the internet. The name in the message tells what is missing in the release",
    ),
)


def advise(text: str) -> str | None:
    """What to do about the failure whose messages a text holds; None for an unknown one."""
    for pattern, remedy in ADVICE:
        if re.search(pattern, text):
            return remedy
    return None
