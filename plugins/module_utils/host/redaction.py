# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove secrets from texts: known ones in every usual encoding, and everything that looks like one.

The work grows with the length of a text and no faster. Lines are cut first, and every repeat in a pattern has a bound.
When in doubt, a text is removed. ``tests/unit/plugins/module_utils/fixtures/secret_shapes.json`` lists the shapes.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "[hidden]"
SHORTEST = 6  # characters; a shorter value would match parts of other words
MOST_LINE = 32 << 10  # characters; the rest of a longer line is removed
_LAST_WORD = 4096  # characters; half a secret at the cut would no longer be recognised

# --- known secrets ---------------------------------------------------------------------------------------------------


def spellings(secret: str) -> set[str]:
    """A known secret as texts contain it: plain, escaped, percent-encoded, in hex, and inside base64."""
    data = secret.encode("utf-8", "surrogatepass")
    found = {secret, repr(secret)[1:-1], html.escape(secret), secret.replace("'", "'\\''")}
    for ascii_only in (True, False):
        once = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        found |= {once, once.replace("/", "\\/"), json.dumps(once)[1:-1], json.dumps(json.dumps(once)[1:-1])[1:-1]}
    percent = {quote(data, safe=""), quote(data), quote_plus(data)}
    found |= percent | {re.sub("%..", lambda match: match[0].lower(), one) for one in percent}
    found |= {quote(one, safe="") for one in percent}
    for one in (data.hex(), data.hex(":"), "".join(f"\\x{byte:02x}" for byte in data)):
        found |= {one, one.upper()}
    for before in range(3):
        # Base64 spells three bytes in four letters, so the spelling depends on how many bytes stand before. The letters
        # at both ends also hold bits of the neighbours, so they are left out.
        text = base64.b64encode(bytes(before) + data).decode()
        whole = text[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
        found |= {whole, whole.replace("+", "-").replace("/", "_"), quote(whole, safe=""), whole.replace("/", "\\/")}
    return {one for one in found if len(one) >= SHORTEST or one == secret} - {""}


def values(texts: Iterable[str]) -> list[str]:
    """All values in JSON files, environment files and plain key files, longest first."""
    found: set[str] = set()
    for text in texts:
        try:
            loaded = json.loads(text)
        except (ValueError, RecursionError):
            loaded = None
        if isinstance(loaded, dict):
            found.update(value for value in loaded.values() if isinstance(value, str))
            found.update(re.findall(r'"([0-9a-f]{64})"', text))  # digests of passwords
            continue
        for line in map(str.strip, text.splitlines()):
            name, sign, value = line.partition("=")
            if sign and " " not in name:
                found.add(value.strip().strip("\"'"))
            if not line.startswith(("#", "-----")):
                found |= {line, line.rpartition(" ")[2].strip("\"'")}
    usable = {value for value in found if len(value) >= SHORTEST and not value.startswith("#")}
    return sorted(usable, key=lambda value: (-len(value), value))


# --- shapes ----------------------------------------------------------------------------------------------------------

# Words that announce a secret, in any part of a name. Each begins with letters, so that the search for them is fast.
_WORD = (
    r"(?:pass(?:word|wd|phrase|code|(?<![a-z]pass)(?![a-z]))|pwd(?<![a-z]pwd)|secret|credential|cookie|authorization"
    r"|auth(?<![a-z]auth)(?=[\"'\\]|&quot;|%22|=[\"']?[a-z0-9+/]{8})|token(?!s_|iz)|bearer|session_?id|sessid|[cx]srf"
    r"|(?:api|app|auth|encryption|private|access|signing|account|master|client|shared|ssh|host|license|session"
    r"|storage|deploy|service|webhook|hmac|preshared)[_-]?key|(?:api|private)[ ]key|connection_?string|masterauth"
    r"|jwt(?![a-z_])|otp(?<![a-z]otp)(?![a-z])|key(?<=[?&;]key)(?==)|sig(?<=[?&;]sig)(?==)|code(?<=[?&;]code)(?==)"
    r"|sid(?<=[?&;]sid)(?==)|signature(?<=[?&;-]signature)(?==))"
)
_ANNOUNCED = re.compile(_WORD)  # in small letters
# Quotes of Python, shell, JSON in JSON, HTML and addresses.
_QUOTE = r"(?:\\{0,15}[\"'`]|%22|&quot;|&\#34;|&\#39;|\\{1,8}u0022)"
_SIGN = re.compile(
    r"(?i)(?P<rest>[\w.-]{0,40})\]?(?:\s(?:for|of)\s[\w.@-]{1,40}(?:\s[\w.@-]{1,40})?)?"
    rf"(?P<closing>(?:{_QUOTE}|\]|\)){{0,3}})[ \t]{{0,8}}(?P<sign>=>|:=|==|[:=]|%3[ad]|,(?= ?b?[\"']))[ \t]{{0,200}}"
)
_OPENING = re.compile(
    r"(?i)(?:[a-z_.]{1,40}\((?=\s?[bruf\"'])|\(\s?|[bruf]{1,2}(?=[\"'\\])){0,3}" rf"(?P<quote>{_QUOTE})"
)
# Values that are no secret: none, a switch, a small number, what is hidden already.
_PLAIN = re.compile(
    r"(?i)(?:none|null|nil|undefined|true|false|yes|no|on|off|enabled|disabled|required|optional|missing|unset|\*{3,99}"
    r"|\[hidden\]|NOT_LOGGING_PASSWORD|VALUE_SPECIFIED_IN_NO_LOG_PARAMETER)?"
    r"(?=[\s,;)\]}]{1,3}(?:[\s\"'}\])\\]|$)|&(?!quot)\w|,\s|\\?[\"']?[}\])]|$)"
)
_NUMBER = re.compile(r"-?\d{1,7}(?:\.\d{1,6})?(?=[\s,;)\]}]|$)")
_MUST_HIDE = re.compile(r"(?i)pass|pwd|otp|secret|code")  # of these, also numbers
_PLACE = re.compile(r"(?i)[_.-](?:dir|file|path|folder|directory|home)s?\Z")
_NEXT = re.compile(r"\s[\w.-]{1,40}=|[,;]\s{0,4}\\{0,9}[\"']?[\w.-]{1,40}\\{0,9}[\"']?\s{0,2}[:=]|&[\w.-]{1,40}=")
_BLOCK = re.compile(r"(?:[|>][+-]?\d?[+-]?|[\[({])?\s{0,8}(?:#[^\n]{0,200})?\Z")
_SCHEME = re.compile(
    r"(?i)(?:bearer|basic|digest|token|negotiate|ntlm|apikey|key|hawk|aws4-hmac-sha256)[ \t]{1,4}(?=\S)"
)
_MORE = re.compile(r"[^\s,;:)\]}&<>\"'\\|]{0,400}")
_BLOCK_LINES = 1000

_EDGE = r"(?<![A-Za-z0-9])"
_VALUE = r"(?:\"[^\"\n]{0,400}\"?|'[^'\n]{0,400}'?|\S{1,400})"
# Each with texts of which one is in every match, in small letters: most texts have none of them.
_SHAPES = tuple(
    (tuple(hints.split(" ")), re.compile(pattern))
    for hints, pattern in (
        # Addresses: with encoded signs, and without a scheme.
        ("%40", r"(?i)(?<=%3A%2F%2F)(?:(?!%2F)[^\s\"'<>&]){1,300}%40"),
        ("@", r"(?<![\w/])[\w.%+-]{1,64}:[^\s@/]{1,128}(?=@[\w.-]{1,200}:\d{2,5}\b)"),
        ("bearer", r"(?i)(?<=bearer )\s{0,4}(?=\S{0,512}?[\d_~+/=-]|\S{20}|\S{1,200}[.]\w)[\w.~+/=:%-]{6,8192}"),
        ("basic", r"(?i:(?<=basic ))(?=\S[a-z]{0,200}[A-Z0-9+/=])[A-Za-z0-9+/=_-]{8,8192}"),
        # JSON web tokens, and JSON in base64.
        ("eyj", _EDGE + r"eyJ[\w+/=.-]{13,30000}"),
        # Hashes of passwords.
        ("$", r"\$(?:1|2[abxy]?|5|6|7|g?y|sha1|apr1|argon2\w{1,2}|scrypt|pbkdf2[\w-]{0,20})\$[./\w$=,+-]{8,300}"),
        ("scram-sha-", r"SCRAM-SHA-\d{1,3}\$[\w+/=:$]{20,400}"),
        # Prefixes of tokens, as secret scanners know them.
        ("xf-", _EDGE + r"xf-[A-Za-z0-9]{16,256}"),  # Xinference's API keys
        (
            "gh github_pat_ glpat gldt glrt glcbt glptt glft glsoat",
            _EDGE + r"(?:gh[pousr]_|github_pat_|gl[a-z]{2,6}-)[\w-]{16,256}",
        ),
        ("hf_ api_org_", _EDGE + r"(?:hf_|api_org_)[A-Za-z0-9]{16,256}"),
        ("sk- sk_ pk_ rk_ whsec", _EDGE + r"(?:[spr]k|whsec)[-_](?:[a-z]{2,8}[-_])?[A-Za-z0-9][\w-]{15,400}"),
        ("xox xapp-", _EDGE + r"(?:xox[a-z]|xapp)-[A-Za-z0-9-]{10,400}"),
        ("hooks.slack.com/", r"(?<=hooks\.slack\.com/)(?:services|workflows)/[\w/+-]{10,200}"),
        ("/api/webhooks/", r"(?<=/api/webhooks/)\d{5,30}/[\w-]{20,200}"),
        ("akia asia abia acca aroa aida a3t", _EDGE + r"(?:A[KSB]IA|ACCA|AROA|AIDA|A3T[A-Z0-9])[A-Z2-7]{12,124}"),
        ("aiza ya29 gocspx 1//0", _EDGE + r"(?:AIza|ya29\.|GOCSPX-|1//0)[\w-]{16,2048}"),
        ("npm_ pypi- rubygems_ dckr_ nvapi-", _EDGE + r"(?:npm_|pypi-|rubygems_|dckr_\w{3}_|nvapi-)[\w-]{16,512}"),
        ("gsk_ r8_ xai- pplx- figd_ sgp_ nfp_", _EDGE + r"(?:gsk_|r8_|xai-|pplx-|figd_|sgp_|nfp_)[\w-]{16,512}"),
        ("_v1_ dapi dp.pt. glsa_ glc_", _EDGE + r"(?:do[opr]_v1_|dapi|dp\.pt\.|glsa_|glc_)[\w+/=-]{20,512}"),
        ("lin_api_ nr ntn_ pmak- pul-", _EDGE + r"(?:lin_api_|NRAK-|NRJS-|ntn_|PMAK-|pul-)[\w-]{20,512}"),
        ("tskey- hrku- pscale_", _EDGE + r"(?:tskey-|HRKU-|pscale_\w{2,8}_)[\w.=-]{12,512}"),
        ("shp sntry sq0", _EDGE + r"(?:shp(?:at|ss|ca|pa)_|sntry[su]_|sq0[a-z]{3}-)[\w.=+/-]{20,512}"),
        ("sl. atatt3 atbb", _EDGE + r"(?:sl\.[A-Za-z]{0,3}\.?|ATATT3|ATBB)[\w=-]{24,512}"),
        ("hvs. hvb. hvr. .atlasv1.", _EDGE + r"(?:hv[sbr]|[A-Za-z0-9]{14}\.atlasv1)\.[\w-]{16,512}"),
        ("flyv1", _EDGE + r"FlyV1 fm[12][a-z]?_[\w+/=,-]{16,4096}"),
        ("sg.", _EDGE + r"SG\.[\w-]{16,64}\.[\w-]{16,64}"),
        ("key- -us", _EDGE + r"(?:key-[0-9a-f]{32}|[0-9a-f]{32}-us\d{1,2})(?![A-Za-z0-9])"),
        ("ac sk", _EDGE + r"(?:AC|SK)[0-9a-f]{32}(?![A-Za-z0-9])"),
        (":aa", _EDGE + r"\d{8,10}:AA[\w-]{30,40}(?![\w-])"),
        (".", _EDGE + r"[MNO][\w-]{22,27}\.[\w-]{6}\.[\w-]{27,40}(?![\w-])"),
        ("akc", _EDGE + r"AKC[A-Za-z0-9]{10,80}"),
        ("age-secret-key-", _EDGE + r"AGE-SECRET-KEY-1[0-9A-Z]{20,80}"),
        ("q~", _EDGE + r"[\w~.-]{3}\dQ~[\w~.-]{31,34}(?![\w~.-])"),
        # Options of commands.
        (
            "-",
            rf"(?i)(?<![\w-])--?(?:[\w-]{{0,40}}?{_WORD})[\w-]{{0,20}}(?:[ \t]|\\\n){{1,40}}"
            rf"(?!--|[\w-]{{1,40}}[=:]\s){_VALUE}",
        ),
        (
            "-u --user --proxy-user",
            r"(?i)(?<![\w-])(?:-u|--user|--proxy-user)[ =]{0,4}(?!\d{1,6}:\d{1,6}\b)"
            r"(?:\"[^\":\n]{1,64}:[^\"\n]{1,400}|'[^':\n]{1,64}:[^'\n]{1,400}|[^\s:\"'-][^\s:\"']{0,64}:[^\s\"']{1,400})",
        ),
        ("-u", r"(?<![\w-])-U[ ]{0,4}[\w.\\-]{1,64}%\S{1,400}"),
        ("curl", rf"(?<![\w-])curl\b[^\n]{{0,400}}?\s-b[ ]{{0,4}}{_VALUE}"),
        (
            "sshpass redis-cli ldap mysql mariadb mosquitto_ login",
            r"(?<![\w-])(?:sshpass|redis-cli|ldap\w{3,10}|mysql\w{0,10}|mariadb\w{0,10}|mosquitto_\w{3}"
            rf"|(?:docker|podman|helm|skopeo) (?:\w{{1,10}} )?login)\b[^\n]{{0,400}}?\s-[pawP][ ]{{0,4}}{_VALUE}",
        ),
        # A word, a blank and a value: netrc, Redis, SQL, and settings of nginx and HAProxy.
        ("passw", r"(?i)(?<![\w-])(?:login|machine|user)\s{1,4}\S{1,100}\s{1,4}(?:password|passwd)\s{1,4}\S{1,400}"),
        (
            "passw requirepass masterauth",
            r"(?im)^[ \t]{0,20}(?:password|passwd|requirepass|masterauth)[ \t]{1,8}[^\s:=]\S{0,400}[ \t]{0,8}$",
        ),
        (
            "identified passw",
            r"(?i)(?:identified\s{1,4}by|(?<![\w-])password)\s{1,4}(?:by\s{1,4})?(?:'[^'\n]{1,400}'|\"[^\"\n]{1,400}\")",
        ),
        (
            "set export _param",
            r"(?i)(?<![\w-])(?:setenv|setx?|export|proxy_set_header|set-header|fastcgi_param)\s{1,4}"
            rf"(?:[\w-]{{0,40}}?(?:{_WORD}|_key_?\d{{0,4}}\b))[\w-]{{0,20}}\s{{1,4}}[^\s=:][^\n]{{0,1000}}",
        ),
        ("</", rf"(?i)(?<=>)[^<>\n]{{1,400}}(?=</[\w:.-]{{0,40}}?{_WORD}[\w:.-]{{0,40}}>)"),
    )
)
_ADDRESS = re.compile(r"(:(?:\\?/){2})(\S{1,2048})")
_PORT = re.compile(r"[^:@/\\]{0,2048}:\d{1,5}(?![^/\\?#\"',;)\]}\s])")
_MARKER = re.compile(r"-{4,5} ?(BEGIN|END) [A-Za-z0-9 ]{0,40}(?:PRIVATE KEY|Static key)[A-Za-z0-9 ]{0,20}-{4,5}")
_KEY_LINE = re.compile(r"(?:(?:^|[\s:])[A-Za-z0-9+/=]{4,76}|^)\s{0,8}\Z")
_MOST_KEY = 64 << 10
_LISTED = re.compile(  # what a vault and PuTTY write
    r"\$ANSIBLE_VAULT;[^\n]{0,100}(?:\n[ \t]{0,40}[0-9a-f]{2,100}){0,4000}"
    r"|(?<=Private-Lines: )\d{1,3}(?:\n[ \t]{0,40}[A-Za-z0-9+/=]{4,100}){0,999}"
)


def _without_keys(text: str) -> str:
    """Remove private keys. A text may begin within one, because only its end was read."""
    kept, place, opened = [], 0, -1
    for marker in _MARKER.finditer(text):
        if marker[1] == "BEGIN":
            if opened < 0:
                kept.append(text[place : marker.start()])
                opened = marker.start()
            continue
        if opened >= 0:
            kept.append(HIDDEN)
            place = min(marker.start(), opened + _MOST_KEY)
        lines = text[place : marker.start()].splitlines(keepends=True)
        while lines and _KEY_LINE.search(lines[-1][-400:]):
            lines.pop()
        kept += [*lines, "" if opened >= 0 and not lines else HIDDEN]
        place, opened = marker.end(), -1
    if opened >= 0:  # no end: the text was cut
        kept.append(HIDDEN)
        place = min(len(text), opened + _MOST_KEY)
    return _LISTED.sub(HIDDEN, "".join([*kept, text[place:]]))


def _cut(text: str) -> str:
    """Cut long lines at a blank."""
    if len(text) <= MOST_LINE:
        return text
    lines = text.split("\n")
    for place, line in enumerate(lines):
        if len(line) > MOST_LINE:
            kept = line[:MOST_LINE]
            blank = kept.rfind(" ", MOST_LINE - _LAST_WORD)
            kept = kept[: blank if blank > 0 else MOST_LINE - _LAST_WORD]
            lines[place] = f"{kept} [{len(line) - len(kept)} more characters]"
    return "\n".join(lines)


def _without_login(match: re.Match[str]) -> str:
    """An address without user and password. A password may hold an @ or a slash."""
    sign, rest = match[1], match[2]
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    last = rest.rfind("@")
    if last < 0 or ("@" not in authority and (":" not in authority or _PORT.match(rest))):
        return match[0]
    return sign + HIDDEN + rest[last:]


def _lower(text: str) -> str:
    """A text in small letters, of the same length."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(sign.lower() if sign.isascii() else sign for sign in text)


class _Assignments:
    """Names that announce a secret, each with a sign and its value."""

    def __init__(self, text: str) -> None:
        self.text = text

    def redacted(self) -> str:
        kept, done = [], 0
        for word in _ANNOUNCED.finditer(_lower(self.text)):
            sign = _SIGN.match(self.text, word.end()) if word.start() >= done else None
            if sign:
                begin, end = self._value(word.start(), sign)
                if begin < end:
                    kept += [self.text[done:begin], HIDDEN]
                    done = end
        return "".join([*kept, self.text[done:]])

    def _value(self, word: int, match: re.Match[str]) -> tuple[int, int]:
        """Where the value begins and ends; the same place twice if it is no secret."""
        text, begin = self.text, match.end()
        nothing = begin, begin
        line_end = text.find("\n", begin)
        line_end = len(text) if line_end < 0 else line_end
        start = word
        while start > max(0, word - 40) and (text[start - 1].isalnum() or text[start - 1] in "_.-"):
            start -= 1
        name, before, sign = text[start : match.end("rest")], text[max(0, start - 1) : start], match["sign"]
        if sign == "," and not (
            match["closing"] and (name.startswith("-") or text[max(0, start - 3) : start].count("("))
        ):
            return nothing
        if (
            before == "/"
            and sign == ":"
            and text[match.end("sign") : begin].strip(" ") == ""
            and begin > match.end("sign")
        ):
            return nothing  # the message of a path
        if _BLOCK.match(text, begin, line_end):
            return self._below(start, begin, line_end)
        if _PLAIN.match(text, begin, line_end) or (
            not _MUST_HIDE.search(name) and _NUMBER.match(text, begin, line_end)
        ):
            return nothing
        if text[begin : begin + 2].lstrip("\"'")[:1] in ("/", "~") and (_PLACE.search(name) or name == "PWD"):
            return nothing
        if text[begin] in "[{" and not text.startswith(HIDDEN, begin):
            return begin, self._bracket_end(begin, line_end)
        opening = _OPENING.match(text, begin, line_end)
        if opening:
            return self._quoted(opening, start, line_end)
        header = re.search("(?i)authorization|cookie|connection", name)
        if header:
            scheme = _SCHEME.match(text, begin, line_end)
            begin = scheme.end() if scheme else begin
        return begin, self._plain_end(begin, line_end, before, sign, bool(header))

    def _plain_end(self, begin: int, line_end: int, before: str, sign: str, header: bool) -> int:
        """The end of a value without quotes: it may hold blanks."""
        text = self.text
        if before and before in "?&;" or sign.startswith("%"):
            found = re.compile(r"[\s&\"'<>]|%26|%22").search(text, begin, line_end)
            return found.start() if found else line_end
        if before and before in "\"'`":
            close = text.find(before, begin, line_end)
            if close > begin:
                return close
        found = None if header else _NEXT.search(text, begin, line_end)
        return found.start() if found else line_end

    def _quoted(self, opening: re.Match[str], start: int, line_end: int) -> tuple[int, int]:
        text, quote, place = self.text, opening["quote"], opening.end()
        if text.startswith(quote * 2, place) and len(quote) == 1:  # three quotes
            close = text.find(quote * 3, place + 2, place + _MOST_KEY)
            return opening.start("quote"), line_end if close < 0 else close + 3
        while True:
            close = text.find(quote, place, line_end)
            if close < 0:
                return self._below(start, opening.start("quote"), line_end)
            if text.startswith("'\\''", close):
                place = close + 4
            elif text[close - 1] == "\\" and close > opening.end():
                place = close + len(quote)
            else:
                break
        inner = text[opening.end() : close]
        if not inner.strip() or (_PLAIN.fullmatch(inner) and inner):
            return close, close
        more = _MORE.match(text, close + len(quote), line_end)
        return opening.start("quote"), more.end() if more else close + len(quote)

    def _bracket_end(self, begin: int, line_end: int) -> int:
        depth = 0
        for place in range(begin, line_end):
            depth += (self.text[place] in "[{") - (self.text[place] in "]}")
            if depth == 0:
                return place + 1
        return self._below(begin, begin, line_end)[1]

    def _below(self, start: int, begin: int, line_end: int) -> tuple[int, int]:
        """The value on the lines below, which are further in, as in YAML and indented JSON."""
        text = self.text
        line = text.rfind("\n", 0, start) + 1
        column = start - line
        lead = text[line:start]
        if not lead.strip(" \t\"'-"):
            column = len(lead.rstrip("\"'"))
            lead = ""
        end = place = line_end
        for _line in range(_BLOCK_LINES):
            if place >= len(text):
                break
            stop = text.find("\n", place + 1)
            stop = len(text) if stop < 0 else stop
            below = text[place + 1 : min(stop, place + 2 + column + 1)]
            inside = (
                below[: column + 1].isspace() and len(below) > column if not lead else below[column : column + 1] == " "
            )
            if inside:
                end = stop
            elif text[place + 1 : stop].strip():
                break
            place = stop
        has_text = text[begin:line_end].strip(" \t|>+-0123456789[({")
        return (begin, end) if end > line_end or has_text else (begin, begin)


class Redactor:
    """Removes secrets from texts."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in spellings(secret)}
        self._known = sorted(forms, key=lambda form: (-len(form), form))

    def known(self, text: str) -> str:
        """A text without the known secrets."""
        for form in self._known:
            text = text.replace(form, HIDDEN)
        return text

    def text(self, text: str) -> str:
        """A text without known secrets and without what looks like one."""
        text = self.known(text)
        text = _ADDRESS.sub(_without_login, _cut(_without_keys(text)))
        low = text.lower()
        for hints, shape in _SHAPES:
            if any(hint in low for hint in hints):
                text = shape.sub(HIDDEN, text)
        return _Assignments(text).redacted()

    def all(self, value: Any) -> Any:
        """The same for all texts in lists and dicts. A key may announce a secret too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._item(key, item) for key, item in value.items()}
        return [self.all(item) for item in value] if isinstance(value, list) else value

    def _item(self, key: Any, item: Any) -> Any:
        if not isinstance(key, str) or not isinstance(item, str):
            return self.all(item)
        announced = f"{key}: {self.text(item)}"
        hidden = _Assignments(announced).redacted()
        return self.text(item) if hidden == announced else HIDDEN
