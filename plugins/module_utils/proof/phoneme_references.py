# SPDX-License-Identifier: GPL-3.0-or-later
"""Data: the reference texts of each language, and the phonemes that misaki makes of them.

They are Python because Ansible packs only Python for a module. If they were an argument, an inventory could decide what
a proof expects.

Each row is (language, lines, plain). A line is (name of the finding, text, phonemes). ``plain`` is text and phonemes of
the line ``invented`` without its invented words.

The texts were chosen so that the phonemes do not depend on the tags of spaCy's model (every tag was tried for every
word) or on a word's context. ``bin/refresh --check`` compares MADE_WITH with the locks.
"""

from __future__ import annotations

# Locked packages that the phonemes depend on, with the versions that made them. Espeak-ng is espeakng-loader's.
MADE_WITH = {
    "misaki": "0.9.4",
    "espeakng-loader": "0.2.4",
    "fugashi": "1.5.2",
    "unidic-lite": "1.0.8",
    "jieba": "0.42.1",
    "pypinyin": "0.55.0",
}

Row = tuple[str, tuple[tuple[str, str, str], ...], tuple[str, str]]

REFERENCES: dict[str, Row] = {
    "a": (
        "American English",
        (
            (
                "sentence",
                "The quick brown fox jumps over the lazy dog.",
                "ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps ˈOvəɹ ðə lˈAzi dˈɔɡ.",
            ),
            ("number", "42 dogs.", "fˈɔɹTi tˈu dˈɔɡz."),
            ("abbreviation", "Dr. Brown", "dˈɑktəɹ bɹˈWn"),
            ("invented", "The zorblaxen glimbrious dog.", "ðə zˈɔɹblæksən ɡlˈɪmbɹiəs dˈɔɡ."),
        ),
        ("The dog.", "ðə dˈɔɡ."),
    ),
    "b": (
        "British English",
        (
            (
                "sentence",
                "The quick brown fox jumps over the lazy dog.",
                "ðə kwˈɪk bɹˈWn fˈɒks ʤˈʌmps ˈQvə ðə lˈAzi dˈɒɡ.",
            ),
            ("number", "42 dogs.", "fˈɔːti tˈuː dˈɒɡz."),
            ("abbreviation", "Dr. Brown", "dˈɒktə bɹˈWn"),
            ("invented", "The zorblaxen glimbrious dog.", "ðə zˈɔːblaksən ɡlˈɪmbɹiəs dˈɒɡ."),
        ),
        ("The dog.", "ðə dˈɒɡ."),
    ),
    "e": (
        "Spanish",
        (
            (
                "sentence",
                "El rápido zorro marrón salta sobre el perro.",
                "el rˈapiðo θˈoro marˈon sˈalta sˌoβɾe el pˈero.",
            ),
            ("number", "42 perros", "kwaɾˌɛntaiðˈos pˈeros"),
            ("abbreviation", "Dr. López", "doktˈoɾ. lˈopeθ"),
            ("invented", "El zorro blorvantino", "el θˈoro βlˌoɾβantˈino"),
        ),
        ("El zorro", "el θˈoro"),
    ),
    "f": (
        "French",
        (
            (
                "sentence",
                "Le renard brun saute par-dessus le chien paresseux.",
                "lə ʁənˈaʁ bʁˈœ̃ sˈot paʁdəsˈy lə ʃjˈɛ̃ paʁɛsˈø.",
            ),
            ("number", "42 chiens", "kaʁɑ̃tdˈø ʃjˈɛ̃"),
            ("abbreviation", "Mme Dupont", "madˈam dypˈɔ̃"),
            ("invented", "Le renard blorvantin", "lə ʁənˈaʁ blɔʁvɑ̃tˈɛ̃"),
        ),
        ("Le renard", "lə ʁənˈaʁ"),
    ),
    "h": (
        "Hindi",
        (
            ("sentence", "मेरा नाम राम है और मैं घर जाता हूँ।", "mˌeːɾaː nˈaːm ɾˈaːm hɛː ɔːɾ mɛ̃ ɡʰˈʌɾ ɟˈaːtaː hũ"),
            ("number", "42 कुत्ते", "bIˈaːlis kˈʊtːeː"),
            ("abbreviation", "50%", "pəcˈaːs pətˈɪʃət"),
            ("invented", "राम ब्लोर्वन्त", "ɾˈaːm blˈoːrʋənt"),
        ),
        ("राम", "ɾˈaːm"),
    ),
    "i": (
        "Italian",
        (
            (
                "sentence",
                "La volpe marrone salta sopra il cane pigro.",
                "la vˈolpe marɾˈone sˈalta sˈopra il kˈane pˈiɡro.",
            ),
            ("number", "42 cani", "kʊaɾˈaːntadˈue kˈanɪ"),
            ("abbreviation", "50%", "ʧinkwˈanta perʧˈɛŋto"),
            ("invented", "La volpe blorvantina", "la vˈolpe blorvantˈina"),
        ),
        ("La volpe", "la vˈolpe"),
    ),
    "j": (
        "Japanese",  # misaki expands no abbreviation in Japanese
        (
            ("sentence", "今日は天気がいいです。", "kʲoː βa teŋkʲi ɡa iː desɨ."),
            ("number", "42匹", "joɲʥɨː ɲi çikʲi"),
            ("invented", "ゾルブラクセンの犬です。", "ʣoɾɯbɯɾakɯseɴ no inɯ desɨ."),
        ),
        ("犬です。", "inɯ desɨ."),
    ),
    "p": (
        "Brazilian Portuguese",
        (
            (
                "sentence",
                "A raposa marrom salta sobre o cachorro preguiçoso.",
                "a xˌapˈozæ maxˈoŋ sˈWtæ sˈobri ʊ kˌaʃˈoxʊ prˌeɡisˈozʊ.",
            ),
            ("number", "42 cachorros", "kwˌaɾˈAŋtæidˈoɪs kˌaʃˈoxʊs"),
            ("abbreviation", "Dr. Silva", "dowtˈor. sˈiʊvæ"),
            ("invented", "A raposa blorvantina", "a xˌapˈozæ blˌoɾəvɐ̃ŋʧˈinæ"),
        ),
        ("A raposa", "a xˌapˈozæ"),
    ),
    "z": (
        "Mandarin",
        (
            ("sentence", "今天天气很好。", "ʨi→ntʰjɛ→ntʰjɛ→nʨʰi↘ xə↓n xau↓."),
            ("number", "42只狗", "sɨ↘ʂɨ↗ɚ↘ ꭧɨ↓kou↓"),
            ("abbreviation", "50%", "pai↓fə→nꭧɨ→u↓ʂɨ↗"),
            ("invented", "泽布拉克森的狗", "ʦɤ↗ pu↘la→kʰɤ↘ sə→n tɤ kou↓"),
        ),
        ("狗", "kou↓"),
    ),
    # The newer model writes bopomofo.
    "z1.1": (
        "Mandarin",
        (
            ("sentence", "今天天气很好。", "ㄐ阴1ㄊ言1ㄊ言1ㄑㄧ4/ㄏㄣ2ㄏㄠ3."),
            ("number", "42只狗", "ㄙㄭ4ㄕ十2ㄦ4/ㄓ十2ㄍㄡ3"),
            ("abbreviation", "50%", "ㄅㄞ3ㄈㄣ1ㄓ十1ㄨ3ㄕ十2"),
            ("invented", "泽布拉克森的狗", "ㄗㄜ2/ㄅㄨ4ㄌㄚ1ㄎㄜ4/ㄙㄣ1/ㄉㄜ5/ㄍㄡ3"),
        ),
        ("狗", "ㄍㄡ3"),
    ),
}
