# SPDX-License-Identifier: GPL-3.0-or-later
"""Small repairs of upstream files, kept until upstream has them. Each applies to exactly one published file.

A repair names the file's SHA-256 before and after. A file with another digest is never touched, because nobody knows
what is wrong with it. The wheel's ``RECORD`` gets the new digest and size, so that an audit with pip or uv finds a
consistent environment. The byte code is compiled again.
"""

from __future__ import annotations

import base64
import csv
import io
import os
import subprocess
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..host.hashing import sha256_bytes, write_atomic


class PatchError(Exception):
    """A repair cannot be made; the message says why."""


class Patch(NamedTuple):
    """One repair: replace ``old`` by ``new``, once, in a file of an installed package."""

    name: str
    package: str
    file: str  # relative to site-packages
    before: str  # SHA-256 of the published file
    after: str  # SHA-256 of the repaired file
    old: str
    new: str
    reason: str
    more: tuple[tuple[str, str], ...] = ()  # further replacements in the same file
    extra: str = ""  # the extra that does not work without this repair; "" if the operator may choose

    def as_dict(self) -> dict[str, str]:
        """Return what ``release.json`` keeps of it."""
        return {"name": self.name, "file": self.file, "before": self.before, "after": self.after}


# Xinference builds Kokoro and never calls .eval(). PyTorch's dropout, meant for training, therefore stays active: for
# each sentence it sets a fifth of the values between layers to zero at random.
KOKORO_EVAL = Patch(
    name="kokoro-eval",
    package="xinference",
    file="xinference/model/audio/kokoro.py",
    before="55e842de893166388b1be5079d86feef4bc3bde146a37ed8772cc728a025b449",
    after="40941068abb8d67e6a4fdc5e67e76f7b69b79df68a8bb446029e94f035b2c39e",
    old="model=KModel(config=config_path, model=model_path).to(self._device),",
    new="model=KModel(config=config_path, model=model_path).to(self._device).eval(),",
    reason="Xinference runs Kokoro in training mode, where dropout sets a fifth of the values of each sentence to zero",
)
# misaki 0.9.4 imports pyopenjtalk, which has no wheel, for every Japanese text. It uses pyopenjtalk only if told to,
# and Kokoro never tells it to.
MISAKI_OPENJTALK = Patch(
    name="misaki-openjtalk",
    package="misaki",
    file="misaki/ja.py",
    before="5870e02433629475e95eaa0b023ac4948a9335e3dafbda0b6641156516c03c22",
    after="54b9080d5850e6943e619ae7da2e2e5f30312bdc9872f96f9b27def9d4a2b798",
    old="import pyopenjtalk\n",
    new="pyopenjtalk = None\n",
    reason="misaki imports pyopenjtalk for Japanese but does not use it; pyopenjtalk has no wheel",
    extra="japanese",
)
# mojimoji has no wheel for aarch64. A comparison over all of Unicode shows: after NFKC, the calls that misaki makes
# change these three quotation marks and nothing else.
MISAKI_MOJIMOJI = Patch(
    name="misaki-mojimoji",
    package="misaki",
    file="misaki/cutlet.py",
    before="7695fc7d853ae4e99679dff4ca0c8404d4804a6fb1059a9d6ad02baeabc4d4de",
    after="66b407a6ffa09f3e1290f17917c270f0d64bc6cebfcca3d9c101740af50ff00c",
    old="import mojimoji\n",
    new="""
class mojimoji:
    zen_to_han = staticmethod(lambda text, kana: text.translate({0x2018: "`", 0x2019: "'", 0x201D: '"'}))
    han_to_zen = staticmethod(lambda text, digit, ascii: text)

""",
    reason="misaki needs mojimoji only for three Japanese quotation marks; mojimoji has no wheel for aarch64",
    extra="japanese",
)
# The class for the newer Mandarin model requests each voice from the hub and also runs in training mode.
KOKORO_ZH = Patch(
    name="kokoro-zh",
    package="xinference",
    file="xinference/model/audio/kokoro_zh.py",
    before="f8a966e7ab1592d031b33feefae765c70ef4d0a022e7f6ba673974fc1e0f8cad",
    after="a8355a55dc03d2f412b8f6b9800f61e060b15fe5f3b9f08dccafd18659542ccb",
    old="model=KModel(config=config_path, model=model_path).to(self._device),",
    new="model=KModel(config=config_path, model=model_path).to(self._device).eval(),",
    reason="Xinference requests each voice of Kokoro-82M-v1.1-zh from the hub, and runs it in training mode",
    more=(
        (
            "        generator = self._model(text=input, voice=voice, speed=speed, **kwargs)\n",
            """        import os

        local_voice = os.path.join(self._model_path, "voices", f"{voice}.pt")
        voice = local_voice if os.path.isfile(local_voice) else voice
        generator = self._model(text=input, voice=voice, speed=speed, **kwargs)
""",
        ),
    ),
    extra="mandarin-1.1",
)
# Xinference starts two processes one after the other. Each imports all of Xinference, which takes six seconds. With
# these repairs, the first process starts the second earlier, and both import at the same time.
START_LOCAL = Patch(
    name="start-local",
    package="xinference",
    file="xinference/deploy/local.py",
    before="713524060358092cde7e0fff579016e3da03c6ffbfc19c8ac329589744a7aad6",
    after="a3a4c96f7b99cdec149831134310304421435e70fc5a9818408f5d0941c538a4",
    old="""from ..core.supervisor import SupervisorActor
from .utils import health_check
from .worker import start_worker_components
""",
    new="from .utils import health_check\n",
    reason="Xinference's first process imports all of Xinference before it starts the second, which imports it again",
    more=(
        (
            "    from .utils import create_worker_actor_pool, update_all_formatter_addresses\n",
            """    from ..core.supervisor import SupervisorActor
    from .utils import create_worker_actor_pool, update_all_formatter_addresses
    from .worker import start_worker_components
""",
        ),
    ),
)
START_HOST = Patch(
    name="start-host",
    package="xinference",
    file="xinference/deploy/local_host.py",
    before="7db310f34b3e89f7fc4be2a296a9ea49de6fb88f54f641c065dc4c2d3694f96f",
    after="8639854822a70e1ae4730d2f3ad92acd256f6b28efb063c9e4ba76fb26bef5cf",
    old="""        from ..core.supervisor import SupervisorActor
        from .local import LOCAL_SUPERVISOR_UID
        from .utils import health_check
""",
    new="",
    reason=START_LOCAL.reason,
    more=(
        (
            """        deadline = time.monotonic() + STARTUP_TIMEOUT
        while self.cluster.pid not in self.owner.workers:""",
            """        from ..api import restful_api  # noqa: F401
        from ..core.supervisor import SupervisorActor
        from .local import LOCAL_SUPERVISOR_UID
        from .utils import health_check

        deadline = time.monotonic() + STARTUP_TIMEOUT
        while self.cluster.pid not in self.owner.workers:""",
        ),
    ),
)
CATALOGUE: Mapping[str, Patch] = {
    patch.name: patch for patch in (KOKORO_EVAL, START_LOCAL, START_HOST, MISAKI_OPENJTALK, MISAKI_MOJIMOJI, KOKORO_ZH)
}
# The repairs that an operator may choose.
OPTIONAL = [name for name, patch in CATALOGUE.items() if not patch.extra]


def needed_for(extras: Iterable[str]) -> list[Patch]:
    """Return the repairs without which the packages of these extras do not work."""
    wanted = set(extras)
    return [patch for patch in CATALOGUE.values() if patch.extra in wanted]


def choose(names: Iterable[str]) -> list[Patch]:
    """Return the repairs with these names, in the catalogue's order. Raises PatchError for an unknown name."""
    wanted = set(names)
    unknown = sorted(wanted - set(CATALOGUE))
    if unknown:
        raise PatchError(f"there is no repair {', '.join(unknown)}. Known repairs: {', '.join(CATALOGUE)}")
    return [patch for patch in CATALOGUE.values() if patch.name in wanted]


def apply(patch: Patch, env: str, site: str) -> None:
    """Repair a file of the environment ``env`` whose packages lie in ``site``. Raises PatchError, OSError.

    An interruption between the steps leaves an environment without a stamp, which is then rebuilt as a whole.
    """
    path = os.path.join(site, *patch.file.split("/"))
    try:
        with open(path, "rb") as handle:
            data = handle.read()
    except FileNotFoundError:
        raise PatchError(_refusal(patch, "is missing")) from None
    found = sha256_bytes(data)
    if found == patch.after:
        repaired = data
    elif found == patch.before:
        repaired = data
        for old, new in ((patch.old, patch.new), *patch.more):
            repaired = repaired.replace(old.encode(), new.encode(), 1)
    else:
        raise PatchError(_refusal(patch, f"has the sha256 {found} instead of {patch.before}"))
    if sha256_bytes(repaired) != patch.after:
        raise PatchError(_refusal(patch, "does not become the file with which the repair was tested"))
    # Write a new file: the old one may be a link that other releases share.
    write_atomic(path, repaired, 0o644)
    _record(patch, site, repaired)
    _compile(patch, env, path)


def _refusal(patch: Patch, what: str) -> str:
    return (
        f"the repair {patch.name} was not made: {patch.file} of {patch.package} {what}. The repair applies to one"
        f" published file only. Its reason: {patch.reason}. Check whether this {patch.package} still needs it. If not,"
        " remove the repair from preflight_patches. Otherwise use the version of the committed lock"
    )


def _record(patch: Patch, site: str, data: bytes) -> None:
    """Write the file's new digest and size to its wheel's RECORD. Raises PatchError, OSError."""
    prefix = patch.package.replace("-", "_") + "-"
    folders = [name for name in os.listdir(site) if name.startswith(prefix) and name.endswith(".dist-info")]
    if len(folders) != 1:
        raise PatchError(_refusal(patch, f"belongs to {len(folders)} installed wheels instead of one"))
    record = os.path.join(site, folders[0], "RECORD")
    with open(record, encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    digest = base64.urlsafe_b64encode(bytes.fromhex(sha256_bytes(data))).rstrip(b"=").decode()
    entry = [patch.file, f"sha256={digest}", str(len(data))]
    at = [number for number, row in enumerate(rows) if row and row[0] == patch.file]
    if len(at) != 1:
        raise PatchError(_refusal(patch, f"stands {len(at)} times in {folders[0]}/RECORD instead of once"))
    rows[at[0]] = entry
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomic(record, text.getvalue().encode(), 0o644)


def _compile(patch: Patch, env: str, path: str) -> None:
    """Compile the byte code again, because the service may not write it. Raises PatchError."""
    python = os.path.join(env, "bin", "python")
    done = subprocess.run(
        [python, "-I", "-m", "py_compile", path],
        capture_output=True, text=True, timeout=60, check=False, env={"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    if done.returncode != 0:
        raise PatchError(f"{patch.file} was repaired but cannot be compiled: {done.stderr.strip()[-500:]}")
