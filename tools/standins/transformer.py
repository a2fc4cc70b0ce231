# SPDX-License-Identifier: GPL-3.0-or-later
"""Train a small en_core_web_trf: the same kind of model as the published one, with 0.1 million weights instead of 125.

The published model is RoBERTa base. This one has its own byte pairs, two layers and a tagger, and learns the tagged
sentences in seconds. `build` also makes the published shape, whose memory and speed bench/english.py measures.

Needs the environment that is deployed: spacy, spacy-curated-transformers, torch.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Sentence = tuple[Sequence[str], Sequence[str]]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Shape:
    """The size of a transformer: width of its layers, and their number, heads and inner width."""

    width: int
    layers: int
    heads: int
    inner: int


SMALL = Shape(width=64, layers=2, heads=4, inner=128)
# RoBERTa base, and the number of its byte pairs.
PUBLISHED, PUBLISHED_PIECES = Shape(width=768, layers=12, heads=12, inner=3072), 50265
ROUNDS, BATCH, RATE, DROPOUT = 20, 8, 0.002, 0.1
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
CLOSING = tuple(".,?!;:)-\u201d%'")
OPENING = '($-\u201c\u00a3"'


def byte_signs() -> dict[int, str]:
    """Return the sign that stands for each byte, as RoBERTa writes its pieces."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) if byte in plain else chr(256 + others.index(byte)) for byte in range(256)}


def join(parts: Sequence[str], pair: Pair) -> tuple[str, ...]:
    """Return the parts of a word with each occurrence of the pair joined."""
    joined, at = [], 0
    while at < len(parts):
        step = 2 if tuple(parts[at : at + 2]) == pair else 1
        joined.append("".join(parts[at : at + step]))
        at += step
    return tuple(joined)


def learn_pairs(words: Iterable[str]) -> list[Pair]:
    """Return the byte pairs to join, most frequent first, until each word is one piece."""
    signs, pairs = byte_signs(), []
    parts = [(tuple(signs[byte] for byte in word.encode()), count) for word, count in sorted(Counter(words).items())]
    while True:
        found: Counter[Pair] = Counter()
        for word, count in parts:
            for pair in zip(word, word[1:], strict=False):
                found[pair] += count
        if not found:
            return pairs
        best = max(found, key=lambda pair: (found[pair], pair))
        pairs.append(best)
        parts = [(join(word, best), count) for word, count in parts]


def spaces(words: Sequence[str]) -> list[bool]:
    """Return for each word whether a space follows it."""
    after = [*words[1:], "."]
    return [
        not (follows.startswith(CLOSING) or follows == "n't" or word in OPENING)
        for word, follows in zip(words, after, strict=True)
    ]


def spoken(words: Sequence[str]) -> list[str]:
    """Return the words as the model sees them: each with the space before it."""
    before = [False, *spaces(words)[:-1]]
    return [" " * space + word for word, space in zip(words, before, strict=True)]


def build(shape: Shape, pairs: Sequence[Pair], pieces: int = 0) -> Any:
    """Return an untrained pipeline. `pieces` is the least number of pieces that it can hold."""
    import spacy
    from curated_tokenizers import ByteBPEProcessor

    names = dict.fromkeys([*SPECIAL, *byte_signs().values(), *("".join(pair) for pair in pairs)])
    vocabulary = {piece: number for number, piece in enumerate(names)}
    ours = "spacy-curated-transformers."
    model = {
        "@architectures": ours + "RobertaTransformer.v1", "vocab_size": max(pieces, len(vocabulary)),
        "hidden_width": shape.width, "intermediate_width": shape.inner, "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers, "piece_encoder": {"@architectures": ours + "ByteBpeEncoder.v1"},
        "with_spans": {"@architectures": ours + "WithStridedSpans.v1", "stride": 104, "window": 144},
    }  # fmt: skip
    listener = {
        "@architectures": ours + "LastTransformerLayerListener.v1", "width": shape.width,
        "pooling": {"@layers": "reduce_mean.v1"},
    }  # fmt: skip
    nlp = spacy.blank("en")
    transformer = nlp.add_pipe("curated_transformer", name="transformer", config={"model": model})
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}})
    encoder = transformer.model.get_ref("piece_encoder")
    encoder.attrs["byte_bpe_processor"] = ByteBPEProcessor(vocabulary, list(pairs))
    return nlp


def examples(nlp: Any, sentences: Iterable[Sentence]) -> list[Any]:
    """Return the sentences as spaCy learns them: each with its own spaces, and with one after every word."""
    from spacy.tokens import Doc
    from spacy.training import Example

    found = []
    for words, tags in sentences:
        for space in (spaces(words), [True] * len(words)):
            doc = Doc(nlp.vocab, words=list(words), spaces=space)
            found.append(Example.from_dict(doc, {"words": words, "tags": tags, "spaces": space}))
    return found


def train(sentences: Sequence[Sentence], seed: int) -> Any:
    """Return a pipeline that has learnt the sentences."""
    import spacy
    import torch
    from spacy_curated_transformers.pipeline import transformer

    # The training's loss is an array of one number. float() of it is an error since NumPy 2.4. Speaking needs no loss.
    vars(transformer)["float"] = lambda loss: loss.item()
    torch.set_num_threads(1)  # more are slower for so small a model
    spacy.util.fix_random_seed(seed)
    nlp = build(SMALL, learn_pairs(word for words, _tags in sentences for word in spoken(words)))
    known, order = examples(nlp, sentences), random.Random(seed)
    optimizer = nlp.initialize(lambda: known)
    optimizer.learn_rate = RATE
    for _round in range(ROUNDS):
        order.shuffle(known)
        for at in range(0, len(known), BATCH):
            nlp.update(known[at : at + BATCH], sgd=optimizer, drop=DROPOUT)
    return nlp
