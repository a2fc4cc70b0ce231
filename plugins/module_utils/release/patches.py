# SPDX-License-Identifier: GPL-3.0-or-later
"""Small repairs of upstream's files, carried until upstream has them, each for exactly the file that it was made for.

A repair names the file's SHA-256 before and after. A file with another digest is never touched: what is wrong there, if
anything, is not known. The wheel's ``RECORD`` gets the new digest and size, so that whoever audits the environment with
pip or uv finds a consistent one, and the byte code is made anew.
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
    """A repair that can't be made, with the reason in words."""


class Patch(NamedTuple):
    """One repair: ``old`` becomes ``new``, once, in a file of an installed package."""

    name: str
    package: str
    file: str  # relative to site-packages
    before: str  # SHA-256 of the file as it is published
    after: str  # and as it is repaired
    old: str
    new: str
    reason: str
    more: tuple[tuple[str, str], ...] = ()  # other places of the same file
    extra: str = ""  # what a release has that can't do without the repair; "" where it is the operator's choice

    def as_dict(self) -> dict[str, str]:
        """What ``release.json`` keeps of it."""
        return {"name": self.name, "file": self.file, "before": self.before, "after": self.after}


# Xinference builds Kokoro and never calls .eval(), so PyTorch's dropout, which is for training, stays active: it
# sets a fifth of the values between layers to zero at random, anew for each sentence.
KOKORO_EVAL = Patch(
    name="kokoro-eval",
    package="xinference",
    file="xinference/model/audio/kokoro.py",
    before="55e842de893166388b1be5079d86feef4bc3bde146a37ed8772cc728a025b449",
    after="40941068abb8d67e6a4fdc5e67e76f7b69b79df68a8bb446029e94f035b2c39e",
    old="model=KModel(config=config_path, model=model_path).to(self._device),",
    new="model=KModel(config=config_path, model=model_path).to(self._device).eval(),",
    reason="Xinference runs Kokoro in training mode: with dropout, by which every sentence loses a fifth of its values",
)
# misaki 0.9.4 imports pyopenjtalk, which has no wheel, wherever it is asked for Japanese, and uses it only where it is
# told to; Kokoro never tells it so.
MISAKI_OPENJTALK = Patch(
    name="misaki-openjtalk",
    package="misaki",
    file="misaki/ja.py",
    before="5870e02433629475e95eaa0b023ac4948a9335e3dafbda0b6641156516c03c22",
    after="54b9080d5850e6943e619ae7da2e2e5f30312bdc9872f96f9b27def9d4a2b798",
    old="import pyopenjtalk\n",
    new="pyopenjtalk = None\n",
    reason="misaki's Japanese imports pyopenjtalk, of which there is no wheel, and does not use it",
    extra="japanese",
)
# mojimoji has no wheel for aarch64. Compared over all of Unicode: after the NFKC before it, what misaki asks of it
# changes these three quotation marks and nothing else.
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
    reason="misaki's Japanese imports mojimoji, of which there is no wheel for aarch64, for three quotation marks",
    extra="japanese",
)
# The newer Mandarin's class asks the hub for each voice by its name, and is in training mode like the other.
KOKORO_ZH = Patch(
    name="kokoro-zh",
    package="xinference",
    file="xinference/model/audio/kokoro_zh.py",
    before="f8a966e7ab1592d031b33feefae765c70ef4d0a022e7f6ba673974fc1e0f8cad",
    after="a8355a55dc03d2f412b8f6b9800f61e060b15fe5f3b9f08dccafd18659542ccb",
    old="model=KModel(config=config_path, model=model_path).to(self._device),",
    new="model=KModel(config=config_path, model=model_path).to(self._device).eval(),",
    reason="Xinference asks the hub for each voice of Kokoro-82M-v1.1-zh, and runs it in training mode",
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
# Xinference starts in two processes, one after the other, and each imports all of it, six seconds in which the
# other one waits. With these the first one starts the second, and both import at the same time.
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
    reason="Xinference's first process imports all of Xinference before it starts the second one, which does so again",
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
# Those that an operator may choose.
OPTIONAL = [name for name, patch in CATALOGUE.items() if not patch.extra]


def needed_for(extras: Iterable[str]) -> list[Patch]:
    """The repairs without which what a release has beside the others' packages does not work."""
    wanted = set(extras)
    return [patch for patch in CATALOGUE.values() if patch.extra in wanted]


def choose(names: Iterable[str]) -> list[Patch]:
    """The repairs of these names, in the catalogue's order. Raises PatchError for an unknown one."""
    wanted = set(names)
    unknown = sorted(wanted - set(CATALOGUE))
    if unknown:
        raise PatchError(f"there is no repair {', '.join(unknown)}; there are: {', '.join(CATALOGUE)}")
    return [patch for patch in CATALOGUE.values() if patch.name in wanted]


def apply(patch: Patch, env: str, site: str) -> None:
    """Repair a file of the environment ``env`` whose packages lie in ``site``. Raises PatchError, OSError.

    A cut between its steps leaves an environment without its stamp, which is made anew as a whole.
    """
    path = os.path.join(site, *patch.file.split("/"))
    try:
        with open(path, "rb") as handle:
            data = handle.read()
    except FileNotFoundError:
        raise PatchError(_refusal(patch, "is not there")) from None
    found = sha256_bytes(data)
    if found == patch.after:
        repaired = data
    elif found == patch.before:
        repaired = data
        for old, new in ((patch.old, patch.new), *patch.more):
            repaired = repaired.replace(old.encode(), new.encode(), 1)
    else:
        raise PatchError(_refusal(patch, f"has the sha256 {found}, known is {patch.before}"))
    if sha256_bytes(repaired) != patch.after:
        raise PatchError(_refusal(patch, "does not become what the repair was tried with"))
    # A new file in its place: the old one may be a link that others share.
    write_atomic(path, repaired, 0o644)
    _record(patch, site, repaired)
    _compile(patch, env, path)


def _refusal(patch: Patch, what: str) -> str:
    return (
        f"the repair {patch.name} was not made: {patch.file} of {patch.package} {what}. It is made for one published"
        f" file alone, and never blindly. Reason of the repair: {patch.reason}. See whether this {patch.package} has it"
        " mended; if so, take the repair out of preflight_patches, else use the version of the committed lock"
    )


def _record(patch: Patch, site: str, data: bytes) -> None:
    """Give the file's new digest and size to its wheel's RECORD. Raises PatchError, OSError."""
    prefix = patch.package.replace("-", "_") + "-"
    folders = [name for name in os.listdir(site) if name.startswith(prefix) and name.endswith(".dist-info")]
    if len(folders) != 1:
        raise PatchError(_refusal(patch, f"belongs to {len(folders)} installed wheels, which should be one"))
    record = os.path.join(site, folders[0], "RECORD")
    with open(record, encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    digest = base64.urlsafe_b64encode(bytes.fromhex(sha256_bytes(data))).rstrip(b"=").decode()
    entry = [patch.file, f"sha256={digest}", str(len(data))]
    at = [number for number, row in enumerate(rows) if row and row[0] == patch.file]
    if len(at) != 1:
        raise PatchError(_refusal(patch, f"stands {len(at)} times in {folders[0]}/RECORD, which should be once"))
    rows[at[0]] = entry
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomic(record, text.getvalue().encode(), 0o644)


def _compile(patch: Patch, env: str, path: str) -> None:
    """Make the byte code anew; the service may not write it. Raises PatchError."""
    python = os.path.join(env, "bin", "python")
    done = subprocess.run(
        [python, "-I", "-m", "py_compile", path],
        capture_output=True, text=True, timeout=60, check=False, env={"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    if done.returncode != 0:
        raise PatchError(f"{patch.file} was repaired and can't be compiled: {done.stderr.strip()[-500:]}")
