# SPDX-License-Identifier: GPL-3.0-or-later
"""Nine languages on a host without a network: each makes phonemes of a sentence, and three speak.

The real packages make the phonemes: misaki's lexica, espeak, the Japanese dictionary, jieba and pypinyin. The stand-ins
give only the part of speech of English words, and these sentences do not depend on it.
"""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
from deployed import UNIT, Speaker, read_wav
from testinfra.host import Host

ENV = "/opt/voicefleet/current/env"
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])

SENTENCES = {
    "a": ("The quick brown fox jumps over the lazy dog.", "ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps ˈOvəɹ ðə lˈAzi dˈɔɡ."),
    "b": ("The quick brown fox jumps over the lazy dog.", "ðə kwˈɪk bɹˈWn fˈɒks ʤˈʌmps ˈQvə ðə lˈAzi dˈɒɡ."),
    "e": ("El veloz murciélago hindú comía feliz cardillo.", "el βelˈoθ muɾθjˈelaɣo indˈu komˈia felˈiθ kaɾðˈiʎo."),
    "f": ("Portez ce vieux whisky au juge blond qui fume.", "pɔʁtˈe sə vjˈø wˈɪski o ʒˈyʒ blˈɔ̃ ki fˈym."),
    "h": ("यह एक परीक्षण वाक्य है।", "jˌəh ˈeːk pəɾˈiːkʃəɳ ʋˈaːkːjə hɛː."),
    "i": ("Quel vituperabile xenofobo zelante assaggia il whisky.",
          "kwel vitʊperˈabile ksenˈɔfobo ʣelˈante aSˈaʤːa il wˈiskɪ."),
    "j": ("今日は良い天気なので、公園を散歩します。", "kʲoː βa joi teŋkʲi na no de, koːeɴ o sampo ɕi masɨ."),
    "p": ("Um pequeno jabuti xereta viu dez cegonhas felizes.",
          "ũŋ pˌekˈenʊ ʒˌabuʧˈi ʃˌeɾˈetæ vˈiʊ dˈɛs sˌeɡˈoɲæs fˌelˈizys."),
    "z": ("今天天气很好，我们去公园散步。", "ʨi→ntʰjɛ→ntʰjɛ→nʨʰi↘ xə↓n xau↓, wo↓mən ʨʰy↘ kʊ→ŋɥɛ↗n sa↘npu↘."),
}  # fmt: skip

# The newer Mandarin model has another alphabet, and a helper for English words.
NEWER = ("今天天气很好，我们说 English。", "ㄐ阴1ㄊ言1ㄊ言1ㄑㄧ4/ㄏㄣ2ㄏㄠ3, 我3ㄇㄣ5/ㄕ我1 ˈɪŋɡlɪʃ .")

# Runs in the release's own Python: reads sentences by language and prints phonemes.
PHONEMES = """
import json, sys
from kokoro import KPipeline
MODELS = {"newer": "hexgrad/Kokoro-82M-v1.1-zh"}
english = KPipeline(lang_code="a", repo_id=MODELS["newer"], model=False)
for name, text in json.load(sys.stdin).items():
    pipeline = KPipeline(
        lang_code="z" if name in MODELS else name, repo_id=MODELS.get(name, "hexgrad/Kokoro-82M"), model=False,
        en_callable=lambda words: next(english(words)).phonemes,
    )
    print(json.dumps([name, "".join(result.phonemes for result in pipeline(text))]))
"""

# Also runs there: reads paragraphs by language, and prints the longest part and what was and should be spoken.
PARAGRAPHS = """
import json, sys
from kokoro import KPipeline, voicefleet_text
for code, text in json.load(sys.stdin).items():
    pipeline = KPipeline(lang_code=code, repo_id="hexgrad/Kokoro-82M", model=False)
    parts = [result.phonemes for result in pipeline(text)]
    whole = pipeline.g2p(voicefleet_text.clean(text, code))[0]
    print(json.dumps([code, max(map(len, parts)), "".join("".join(parts).split()), "".join(whole.split())]))
"""

# Prints what reads American and British English, and whether it is one object.
ENGLISH = """
import json
from kokoro import KPipeline
american, british = (KPipeline(lang_code=code, repo_id="hexgrad/Kokoro-82M", model=False).g2p.nlp for code in "ab")
print(json.dumps([american.meta["name"], american.pipe_names, american is british]))
"""


@pytest.fixture(scope="module")
def phonemes(host: Host) -> dict[str, str]:
    """Return the release's phonemes of each sentence, made on the host without a network."""
    asked = json.dumps({"newer": NEWER[0]} | {code: text for code, (text, _phonemes) in SENTENCES.items()})
    said = host.check_output(
        f"printf %s %s | TMPDIR=$(mktemp -d) {ENV}/bin/python -W ignore -c %s", "%s", asked, PHONEMES
    )
    return dict(json.loads(line) for line in said.splitlines() if line.startswith("["))


@pytest.mark.parametrize("code", SENTENCES)
def test_a_language_turns_text_into_phonemes(phonemes: dict[str, str], code: str) -> None:
    # espeak writes a tilde as a separate character, which means the same.
    assert unicodedata.normalize("NFC", phonemes[code]) == unicodedata.normalize("NFC", SENTENCES[code][1])


def test_every_word_of_a_paragraph_on_one_line_reaches_the_model(host: Host) -> None:
    asked = (PROJECT / "tests/audio/paragraphs.json").read_text(encoding="utf-8")
    said = host.check_output(
        f"printf %s %s | TMPDIR=$(mktemp -d) {ENV}/bin/python -W ignore -c %s", "%s", asked, PARAGRAPHS
    )
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("[")]
    assert [row[0] for row in rows] == [*SENTENCES]
    for _code, longest, spoken, whole in rows:
        assert longest <= 510
        assert spoken == whole


def test_the_newer_mandarin_model_reads_english_words_in_chinese_text(phonemes: dict[str, str]) -> None:
    assert phonemes["newer"] == NEWER[1]


def test_the_transformer_model_reads_english(host: Host) -> None:
    """The release has no other model of English. So what it speaks in English, it read with this one."""
    said = host.check_output(f"TMPDIR=$(mktemp -d) {ENV}/bin/python -W ignore -c %s", ENGLISH).splitlines()[-1]
    assert json.loads(said) == ["core_web_trf", ["transformer", "tagger"], True]
    release = json.loads(host.file("/opt/voicefleet/current/release.json").content_string)
    models = [(row["name"], row["source"]) for row in release["artifacts"] if row["kind"] == "spacy-model"]
    assert models == [("en_core_web_trf", "made-up")]
    assert "misaki-trf" in [patch["name"] for patch in release["patches"]]


@pytest.mark.parametrize(("uid", "voice"), [("kokoro", "af_heart"), ("kokoro", "jf_alpha"), ("kokoro-z", "zf_001")])
def test_a_language_speaks(speaker: Speaker, uid: str, voice: str) -> None:
    answer = speaker.ask(voice, model=uid, input=SENTENCES[voice[0]][0])
    assert answer.status == 200, answer.body[:500]
    with read_wav(answer.body) as wav:
        assert wav.getframerate() == 24000
        assert wav.getnframes() / wav.getframerate() > 1


def test_one_process_speaks_all_languages_of_one_model(host: Host) -> None:
    assert host.check_output("pgrep --count --full '^Model: kokoro-rep'") == "1"
    assert host.check_output("pgrep --count --full '^Model: '") == "2"  # the other one is kokoro-z


def test_the_chinese_word_list_is_cached(host: Host, speaker: Speaker) -> None:
    """jieba writes it to the service's own temporary folder. The sandbox forbids other places."""
    assert speaker.ask("zf_001", model="kokoro-z", input=SENTENCES["z"][0]).status == 200
    assert host.file("/var/lib/voicefleet/tmp/jieba.cache").user == "voicefleet"
    assert "Dump cache file failed" not in host.check_output("journalctl --no-pager --unit %s", UNIT)


def test_only_needed_packages_are_installed(host: Host) -> None:
    """Only the light dictionary is installed, and none of the packages that misaki requires but does not use."""
    listed = host.check_output(f"ls {ENV}/lib/python3.11/site-packages").split()
    assert {"fugashi", "jaconv", "unidic_lite", "jieba", "pypinyin", "cn2an"} <= set(listed)
    assert not {"unidic", "pyopenjtalk", "mojimoji", "nltk", "jamo", "mishkal"} & set(listed)


def test_no_log_shows_an_attempt_to_reach_the_internet(host: Host) -> None:
    journal = host.check_output("journalctl --no-pager --unit %s", UNIT)
    log = host.check_output("find /var/lib/voicefleet/logs -type f -exec cat {} +")
    for mark in ("Max retries exceeded", "NameResolutionError", "Network is unreachable", "huggingface.co/hexgrad"):
        assert mark not in journal + log
