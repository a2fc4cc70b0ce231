# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of secret shapes, as texts with made-up secrets, for the tests and for tools/hostile.py."""

from __future__ import annotations

import base64
import html
import json
import random
import re
import string
from pathlib import Path
from urllib.parse import quote, quote_plus

_TABLE = Path(__file__).parent / "fixtures" / "secret_shapes.json"
_MARK = re.compile(r"<%(.*?)%>", re.DOTALL)
_RANDOM = re.compile(r"\$(an|hex|b64_)(\d+)\$")
_LETTERS = {
    "an": string.ascii_letters + string.digits,
    "hex": "0123456789abcdef",
    "b64_": string.ascii_letters + string.digits + "+/",
}


def _filled(text: str, seed: str) -> str:
    chance = random.Random(seed)
    return _RANDOM.sub(lambda match: "".join(chance.choices(_LETTERS[match[1]], k=int(match[2]))), text)


def shapes() -> dict[str, tuple[str, list[str]]]:
    """Each shape by name: a text, and the secrets in it."""
    found = {}
    for row in json.loads(_TABLE.read_text(encoding="utf-8"))["secret"]:
        text = _filled(row["text"], row["what"])
        found[row["what"]] = _MARK.sub(r"\1", text), _MARK.findall(text)
    return found


def readable() -> list[str]:
    """Ordinary lines, which must stay as they are."""
    lines: list[str] = json.loads(_TABLE.read_text(encoding="utf-8"))["readable"]
    return lines


def leaks(secret: str, text: str) -> bool:
    """Whether a text still has a word of a secret, or eight characters in a row of a long one."""
    for word in secret.split():
        parts = [word[place : place + 8] for place in range(len(word) - 7)] if len(word) >= 16 else [word]
        if len(word) >= 4 and any(part in text for part in parts):
            return True
    return False


def encodings(secret: str) -> dict[str, str]:
    """A secret in every usual encoding."""
    data = secret.encode()
    found = {
        "plain": secret,
        "JSON": json.dumps(secret)[1:-1],
        "JSON without escapes": json.dumps(secret, ensure_ascii=False)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(secret)[1:-1])[1:-1],
        "repr": repr(secret)[1:-1],
        "percent": quote(secret, safe=""),
        "percent, small": re.sub("%..", lambda match: match[0].lower(), quote(secret, safe="")),
        "percent, with slashes": quote(secret),
        "percent twice": quote(quote(secret, safe=""), safe=""),
        "form": quote_plus(secret),
        "hex": data.hex(),
        "HEX": data.hex().upper(),
        "hex with colons": data.hex(":"),
        "HTML": html.escape(secret),
    }
    for before in ("", "u:", "kim:", "a"):
        joined = before.encode() + data
        found[f"base64 after {before!r}"] = base64.b64encode(joined).decode()[len(before) * 4 // 3 :]
        found[f"base64url after {before!r}"] = (
            base64.urlsafe_b64encode(joined).decode().rstrip("=")[len(before) * 4 // 3 :]
        )
        found[f"percent of base64 after {before!r}"] = quote(base64.b64encode(joined), safe="")[len(before) * 4 // 3 :]
    return found
