# SPDX-License-Identifier: GPL-3.0-or-later
"""Write, keep and remove the files that configure a host's clients for proxies, mirrors and private CAs.

Only root can read files with credentials (0600). Everyone else gets the same addresses without credentials. A foreign
file gets at most a marked block, and none if it already has such a setting. A ledger holds the digest of each file that
was written as a whole, so a removal knows whether somebody has changed it.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import ipaddress
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from ..host import layout, private_files
from ..host.systemd_unit import MARKER, run
from .settings import NoProxy, Settings, cautions, environment, masked

FOLDER = layout.PROXY
LEDGER = FOLDER + "/ledger.json"
# Only for root: the variables with credentials, for systemd units and for a shell.
ENVIRONMENT = FOLDER + "/environment"
BEGIN, END = "# BEGIN voicefleet.kokoro proxy", "# END voicefleet.kokoro proxy"
_BLOCK = re.compile(rf"^{BEGIN}\n.*?^{END}\n", re.MULTILINE | re.DOTALL)
# pam_env reads /etc/environment and stops at a longer line.
PAM_LINE = 1000
CLIENTS = ("login", "pam", "systemd", "apt", "dnf", "pip", "uv", "docker", "ansible")

# Each trust store: folder for private CAs, their suffix, the bundle that all clients read, the command that makes it.
# Without --fresh, the links of a removed CA would stay.
_DEBIAN = ("update-ca-certificates", "--fresh")
TRUST = (
    ("/usr/local/share/ca-certificates", ".crt", "/etc/ssl/certs/ca-certificates.crt", _DEBIAN),
    ("/etc/pki/ca-trust/source/anchors", ".pem", "/etc/pki/tls/certs/ca-bundle.crt", ("update-ca-trust", "extract")),
    ("/etc/pki/trust/anchors", ".pem", "/etc/ssl/ca-bundle.pem", _DEBIAN),
)

Runner = Callable[..., "tuple[int, str]"]


class ProxyFilesError(Exception):
    """An error for the operator."""


@dataclass(frozen=True)
class File:
    """A file that the role owns as a whole."""

    path: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class Block:
    """The role's lines in a foreign file. ``clash`` matches foreign lines that set the same thing.

    The block stands after the first line that is ``after``, or else at the end. ``private`` closes the file to others.
    """

    path: str
    text: str
    clash: str
    after: str = ""
    private: bool = False


@dataclass
class Wanted:
    """All files, blocks and messages for one host."""

    files: list[File] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)


@dataclass
class Applied:
    """What was changed, or would be in check mode. ``diff`` contains no secrets."""

    changes: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)


# --- contents of the files ---------------------------------------------------------------------------


def _assignments(variables: Mapping[str, str]) -> str:
    """Return ``NAME="value"`` lines for systemd. Values are addresses, without quotes and backslashes."""
    return "".join(f'{name}="{value}"\n' for name, value in sorted(variables.items()))


def _exports(variables: Mapping[str, str], indent: str = "") -> str:
    return "".join(f"{indent}export {name}='{value}'\n" for name, value in sorted(variables.items()))


def _managed(text: str, comment: str = "#") -> str:
    return f"{MARKER.replace('#', comment, 1)}; remove it with proxy_state: absent\n{text}"


def _system_has(root: str, *paths: str) -> bool:
    return any(os.path.exists(root + path) for path in paths)


def unit_exists(root: str, unit: str) -> bool:
    """Whether a file of systemd defines a unit of this name."""
    folders = (layout.UNIT_FOLDER, "/lib/systemd/system", "/usr/lib/systemd/system")
    return _system_has(root, *(f"{folder}/{unit}" for folder in folders))


def trust_of(root: str) -> tuple[str, str, str, tuple[str, ...]] | None:
    """Return this system's entry of TRUST, or None if the system is unknown."""
    for entry in TRUST:
        if _system_has(root, entry[0]) and _system_has(root, os.path.dirname(entry[2])):
            return entry
    # Debian creates the folder with the first certificate.
    return TRUST[0] if _system_has(root, "/usr/sbin/update-ca-certificates") else None


def certificate_path(anchors: str, suffix: str, pem: str) -> str:
    """Return the path of a private CA. Its name depends on its content, so no other CA replaces it unnoticed."""
    return f"{anchors}/voicefleet-proxy-{hashlib.sha256(pem.encode()).hexdigest()[:16]}{suffix}"


def _apt(settings: Settings, given: Iterable[str]) -> str:
    lines = []
    for name in ("http", "https"):
        url = settings.proxies.get(name, settings.all)
        if not url:
            continue
        lines.append(f'Acquire::{name}::Proxy "{settings.with_credentials(url)}";\n')
        # apt knows only exact names. It gets suffixes and networks from the environment.
        direct = [
            entry for entry in given if not entry.startswith((".", "*")) and "/" not in entry and ":" not in entry
        ]
        lines += [
            f'Acquire::{name}::Proxy::{host} "DIRECT";\n' for host in dict.fromkeys(["localhost", "127.0.0.1", *direct])
        ]
    return _managed("".join(lines), "//")


def _dnf(settings: Settings) -> str:
    url = settings.https or settings.http or settings.all
    lines = f"proxy={url}\n"
    if settings.username:
        lines += f"proxy_username={settings.username}\nproxy_password={settings.password}\n"
    return lines


def wanted(settings: Settings, direct: NoProxy, clients: Iterable[str], units: Iterable[str], root: str = "") -> Wanted:
    """Return the files for the clients that a host has. ``root`` is put before every path that is read."""
    chosen = set(clients)
    result = Wanted(notes=list(direct.notes), cautions=list(cautions(settings)))
    trust = trust_of(root) if settings.certificates else None
    bundle = ""
    if trust is not None:
        anchors, suffix, bundle, _command = trust
        result.files += [File(certificate_path(anchors, suffix, pem), pem) for pem in settings.certificates]
    elif settings.certificates:
        result.notes.append(
            "no trust store was found (ca-certificates is not installed), so private CAs were left out on this host"
        )
    public = environment(settings, direct, bundle, secret=False)
    private = environment(settings, direct, bundle, secret=True)
    result.files.append(File(ENVIRONMENT, _managed(_assignments(private)), 0o600))

    if "login" in chosen:
        secret = FOLDER + "/environment.sh"
        text = _exports(public)
        if settings.username:
            result.files.append(File(secret, _managed(_exports(private)), 0o600))
            text = f"if [ -r {secret} ]; then\n    . {secret}\nelse\n{_exports(public, '    ')}fi\n"
        result.files.append(File("/etc/profile.d/voicefleet-proxy.sh", _managed(text)))
    if "pam" in chosen and _system_has(root, "/etc/pam.d"):
        short = direct.at_most(PAM_LINE)
        if short.entries != direct.entries and settings.proxies:
            result.notes.append(
                f"/etc/environment has the first {len(short.entries)} of {len(direct.entries)} entries of NO_PROXY,"
                " because pam_env reads no longer line"
            )
        lines = "".join(
            f"{name}={value}\n" for name, value in sorted(environment(settings, short, bundle, secret=False).items())
        )
        result.blocks.append(Block("/etc/environment", lines, r"(?i)^\s*(export\s+)?(https?|all|no)_proxy\s*="))
    if "systemd" in chosen and _system_has(root, "/etc/systemd"):
        quoted = " ".join(f'"{name}={value.replace("%", "%%")}"' for name, value in sorted(public.items()))
        text = f"[Manager]\nDefaultEnvironment={quoted}\n"
        result.files.append(File("/etc/systemd/system.conf.d/50-voicefleet-proxy.conf", _managed(text)))
        result.files.append(File("/etc/environment.d/50-voicefleet-proxy.conf", _managed(_assignments(public))))
    if "apt" in chosen and settings.proxies and _system_has(root, "/etc/apt/apt.conf.d"):
        mode = 0o600 if settings.username else 0o644
        result.files.append(File("/etc/apt/apt.conf.d/95voicefleet-proxy", _apt(settings, settings.no_proxy), mode))
    if "dnf" in chosen and settings.proxies and _system_has(root, "/etc/dnf/dnf.conf"):
        result.blocks.append(
            Block(
                "/etc/dnf/dnf.conf",
                _dnf(settings),
                r"^\s*proxy(_username|_password)?\s*=",
                "[main]",
                bool(settings.username),
            )
        )
    if "pip" in chosen and (bundle or settings.pip_index_url):
        # Never write `proxy =`: pip would ignore NO_PROXY, and everyone can read this file.
        lines = "[global]\n" + (f"cert = {bundle}\n" if bundle else "")
        lines += f"index-url = {settings.pip_index_url}\n" if settings.pip_index_url else ""
        result.files.append(File("/etc/xdg/pip/pip.conf", _managed(lines)))
    if "uv" in chosen and settings.pip_index_url:
        text = f'[[index]]\nurl = "{settings.pip_index_url}"\ndefault = true\n'
        result.files.append(File("/etc/uv/uv.toml", _managed(text)))
    with_environment = list(units)
    if "docker" in chosen and unit_exists(root, "docker.service"):
        with_environment.append("docker.service")
    for unit in dict.fromkeys(with_environment):
        text = f"[Service]\nEnvironmentFile={ENVIRONMENT}\n"
        result.files.append(File(f"{layout.UNIT_FOLDER}/{unit}.d/50-voicefleet-proxy.conf", _managed(text)))
    if "ansible" in chosen:
        # Unlike values of `environment:`, these appear in no command line on the host.
        text = f"#!/bin/sh\n{_managed('')}set -a\n. {ENVIRONMENT}\nset +a\n"
        result.files.append(File(FOLDER + "/run", text + 'exec "$@"\n', 0o700))
        result.files.append(File(FOLDER + "/python3", text + 'exec /usr/bin/python3 "$@"\n', 0o700))
    return result


# --- the ledger -----------------------------------------------------------------------------------


@dataclass
class Ledger:
    """What was written: digests by path, earlier modes of files that were closed, and created folders.

    A path has two digests while its file is being replaced.
    """

    files: dict[str, list[str]] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    pending: bool = False  # files were changed, and systemd and the trust store may not have read them yet

    @classmethod
    def load(cls, path: str) -> Ledger:
        """Read a ledger; empty if there is none. Raises ProxyFilesError if it is damaged."""
        text = private_files.read_text(path)
        if text is None:
            return cls()
        try:
            data = json.loads(text)
            return cls(
                {str(k): [str(d) for d in v] for k, v in data["files"].items()},
                {str(k): int(v) for k, v in data["modes"].items()},
                list(map(str, data["created"])),
                list(map(str, data["folders"])),
                bool(data["pending"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProxyFilesError(
                f"{path} is damaged ({error}). Restore it, or remove it and the files that it named"
            ) from None

    def text(self) -> str:
        return json.dumps(self.__dict__, indent=1, sort_keys=True) + "\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def hidden(text: str, secrets: Iterable[str]) -> str:
    """Return a text to show: addresses without credentials, and no spelling of the password."""
    text = re.sub(r"(?m)^(proxy_username|proxy_password)=.*$", r"\1=***", masked(text))
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


class Host:
    """The files of one host. ``root`` is put before every path and ``runner`` runs commands; tests replace both."""

    def __init__(self, check: bool, secrets: Iterable[str] = (), root: str = "", runner: Runner = run) -> None:
        self.check = check
        self.secrets = list(secrets)
        self.root = root
        self.run = runner
        self.done = Applied()
        self.ledger = Ledger.load(root + LEDGER)
        self._late = self.ledger.pending
        self._saved = self.ledger.text() if os.path.exists(root + LEDGER) else ""
        self._owner = (os.geteuid(), os.getegid())

    # --- writing --------------------------------------------------------------------------------------

    def keep(self, target: Wanted) -> None:
        """Write what is wanted. Remove what was written before and is no longer wanted."""
        self.done.cautions += target.cautions
        files = [file for file in target.files if not self._foreign(file)]
        blocks = [block for block in target.blocks if not self._clashes(block)]
        changed = [(file, why) for file in files for why in [self._why(file)] if why]
        for file, _why in changed:
            known = self.ledger.files.setdefault(file.path, [])
            known[:] = list(dict.fromkeys([*known, _digest(file.text)]))
        surplus = sorted(set(self.ledger.files) - {file.path for file in files})
        lines = sorted(self._block_paths() - {block.path for block in blocks})
        if changed or surplus or lines:
            self.ledger.pending = True
            self._save_ledger()
        for file, why in changed:
            self._write(file, why)
        for block in blocks:
            self._write_block(block)
        for path in surplus:
            self._remove_file(path)
        for path in lines:
            self._remove_block(path)
        self.settle()
        for file in files:
            self.ledger.files[file.path] = [_digest(file.text)]
        self.ledger.pending = False
        self._save_ledger()

    def _foreign(self, file: File) -> bool:
        """Whether a foreign file has this name. It is left alone."""
        path = self.root + file.path
        text = private_files.read_text(path)
        if text is None or file.path in self.ledger.files or text == file.text or MARKER[2:] in text:
            return False
        self.done.cautions.append(
            f"{file.path} belongs to somebody else and was not touched. Its client uses only the environment's"
            " settings. Merge the files by hand, or remove that file and run again"
        )
        return True

    def _clashes(self, block: Block) -> bool:
        text = private_files.read_text(self.root + block.path) or ""
        match = re.search(block.clash, _BLOCK.sub("", text), re.MULTILINE)
        if match:
            said = match.group().strip().split("=")[0].strip()
            self.done.cautions.append(
                f"{block.path} already sets {said} in a line of somebody else and was not touched. Remove that line to"
                " manage the setting here"
            )
        return match is not None

    def _why(self, file: File) -> str:
        """Return why a file must be written, "" if it is already right."""
        return private_files.differs(self.root + file.path, file.text, file.mode) or ""

    def _write(self, file: File, why: str) -> None:
        before = private_files.read_text(self.root + file.path) or ""
        self._note(f"{file.path} written ({why})", file.path, before, file.text)
        if not self.check:
            self._make_folders(os.path.dirname(file.path))
            private_files.write_text(self.root + file.path, file.text, file.mode, *self._owner)

    def _make_folders(self, folder: str) -> None:
        missing = []
        while not os.path.isdir(self.root + folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            os.mkdir(self.root + path, 0o755)
            os.chmod(self.root + path, 0o755)
            self.ledger.folders.append(path)

    def _write_block(self, block: Block) -> None:
        path = self.root + block.path
        before = private_files.read_text(path)
        lines = f"{BEGIN}\n{block.text}{END}\n"
        rest = _BLOCK.sub("", before or "")
        if rest and not rest.endswith("\n"):
            rest += "\n"
        after = rest + lines
        if block.after:
            place = re.search(rf"^{re.escape(block.after)}[ \t]*\n", rest, re.MULTILINE)
            after = rest[: place.end()] + lines + rest[place.end() :] if place else f"{block.after}\n{lines}{rest}"
        status = os.stat(path) if before is not None else None
        mode = stat.S_IMODE(status.st_mode) if status else 0o644
        closed = mode & 0o600 if block.private else self.ledger.modes.get(block.path, mode)
        if before == after and mode == closed:
            return
        self._note(f"{block.path}: our lines written", block.path, before or "", after)
        if block.private and mode != closed:
            self.done.changes.append(f"{block.path} closed to others, because it now holds a password")
            self.ledger.modes.setdefault(block.path, mode)
        elif not block.private:
            self.ledger.modes.pop(block.path, None)
        if before is None and block.path not in self.ledger.created:
            self.ledger.created.append(block.path)
        if not self.check:
            self._make_folders(os.path.dirname(block.path))
            self._save_ledger()
            owner = (status.st_uid, status.st_gid) if status else self._owner
            private_files.write_text(path, after, closed, *owner)

    # --- removing ----------------------------------------------------------------------------------

    def remove(self) -> None:
        """Remove exactly what was written. A file that somebody changed since then stays, and is reported."""
        if self.ledger.files:
            self.ledger.pending = True
            self._save_ledger()
        for path in sorted(self.ledger.files):
            self._remove_file(path)
        for path in sorted(self._block_paths()):
            self._remove_block(path)
        self.settle()
        if self.check:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.root + LEDGER)
        for path in sorted(self.ledger.folders, key=len, reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(self.root + path)

    def _remove_file(self, path: str) -> None:
        text = private_files.read_text(self.root + path)
        known = self.ledger.files[path] if self.check else self.ledger.files.pop(path)
        if text is None:
            return
        if _digest(text) not in known:
            self.done.cautions.append(
                f"{path} was changed after it was written here, so it was kept. Remove it yourself"
            )
            return
        self._note(f"{path} removed", path, text, "")
        if not self.check:
            os.unlink(self.root + path)

    def _block_paths(self) -> set[str]:
        return {
            path
            for path in ("/etc/environment", "/etc/dnf/dnf.conf")
            if _BLOCK.search(private_files.read_text(self.root + path) or "")
        }

    def _remove_block(self, path: str) -> None:
        before = private_files.read_text(self.root + path) or ""
        after = _BLOCK.sub("", before)
        self._note(f"{path}: our lines removed", path, before, after)
        if self.check:
            return
        status = os.stat(self.root + path)
        mode = self.ledger.modes.pop(path, stat.S_IMODE(status.st_mode))
        if path in self.ledger.created and after in ("", "[main]\n"):
            self.ledger.created.remove(path)
            os.unlink(self.root + path)
            return
        private_files.write_text(self.root + path, after, mode, status.st_uid, status.st_gid)

    # --- what follows a change ------------------------------------------------------------------------

    def settle(self) -> None:
        """Let systemd and the trust store read what was changed, by this run or an interrupted one."""
        late = self._late and not self.done.changes
        if late:
            self.done.changes.append("systemd and the trust store read what an interrupted run had written")
        touched = " ".join(self.done.changes)
        if (late or "/systemd/" in touched) and os.path.isdir(self.root + "/run/systemd/system"):
            self._command(("systemctl", "daemon-reload"))
        trust = trust_of(self.root)
        if trust is None:
            return
        anchors, suffix, bundle, command = trust
        have = _squeezed(private_files.read_text(self.root + bundle) or "")
        ours = sorted(glob.glob(f"{self.root}{anchors}/voicefleet-proxy-*{suffix}"))
        lost = [path for path in ours if _body(private_files.read_text(path) or "") not in have]
        changed = f"{anchors}/voicefleet-proxy-" in touched
        if lost and not (late or changed):
            self.done.changes.append(f"{bundle} made again, because it lacked a private CA")
        if late or changed or lost:
            self._command(command)

    def _command(self, command: tuple[str, ...]) -> None:
        if self.check:
            return
        status, output = self.run(command, 120)
        if status != 0:
            raise ProxyFilesError(f"{' '.join(command)} failed ({status}): {output[-500:]}")

    # --- bookkeeping ----------------------------------------------------------------------------------

    def _save_ledger(self) -> None:
        text = self.ledger.text()
        if self.check or text == self._saved:
            return
        self._make_folders(FOLDER)
        text = self.ledger.text()
        private_files.write_text(self.root + LEDGER, text, 0o600, *self._owner)
        self._saved = text

    def _note(self, change: str, path: str, before: str, after: str) -> None:
        self.done.changes.append(change)
        self.done.diff.append(
            {
                "before_header": path,
                "after_header": path,
                "before": hidden(before, self.secrets),
                "after": hidden(after, self.secrets),
            }
        )


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _body(pem: str) -> str:
    """Return a certificate's content without line breaks."""
    return _squeezed(pem).replace("-----BEGINCERTIFICATE-----", "").replace("-----ENDCERTIFICATE-----", "")


# --- the host's own names and addresses -----------------------------------------------------------


def own_names(hostname: str, root: str = "") -> list[str]:
    """Return the host's names and addresses, from files only, because there may be no resolver."""
    addresses = _addresses(root)
    names = [hostname, hostname.split(".")[0]]
    for line in (private_files.read_text(root + "/etc/hosts") or "").splitlines():
        words = line.split("#")[0].split()
        if words and (words[0] in addresses or hostname in words[1:]):
            names += words[1:]
    return [name for name in dict.fromkeys([*names, *addresses]) if name]


def _addresses(root: str) -> list[str]:
    """Return all addresses of the host except loopback and link-local ones."""
    found: list[str] = []
    previous = ""
    for line in (private_files.read_text(root + "/proc/net/fib_trie") or "").splitlines():
        if "/32 host LOCAL" in line and not previous.startswith("127."):
            found.append(previous)
        previous = line.split()[-1] if line.split() else ""
    for line in (private_files.read_text(root + "/proc/net/if_inet6") or "").splitlines():
        digits = line.split()[0]
        address = ":".join(digits[i : i + 4] for i in range(0, 32, 4))
        if digits[:3] not in ("fe8", "fe9", "fea", "feb") and digits != "0" * 31 + "1":
            found.append(str(ipaddress.ip_address(address)))
    return list(dict.fromkeys(found))


def as_result(done: Applied, notes: Iterable[str]) -> dict[str, Any]:
    """Return the module's result."""
    return {
        "changed": bool(done.changes),
        "changes": done.changes,
        "notes": list(notes),
        "cautions": done.cautions,
        "diff": done.diff,
    }
