# SPDX-License-Identifier: GPL-3.0-or-later
"""The repairs of upstream files, in the order in which they are listed. Nothing but data; ``patches.py`` applies it.

They stay in Python because a module runs from what Ansible packs, which is Python alone. As an argument they would be
the inventory's, and an inventory must not decide what code replaces upstream's.
"""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

# The wheels that the repairs were made for and tried with, by package. ``bin/refresh`` compares them with the locks.
WHEELS = {
    "xinference": "40dd71d79e85a86f85c0d8b435fe51111fcf2c09227350d4a452229709528f2d",
    "kokoro": "a129dc6364a286bd6a92c396e9862459d3d3e45f2c15596ed5a94dcee5789efd",
    "misaki": "90e2eeb169786c014c429e5058d2ea6bcd02d651f2a24450ba6c9ffc0f8da15a",
}

# Xinference builds Kokoro and never calls .eval(). PyTorch's dropout, meant for training, therefore stays active: for
# each sentence it sets a fifth of the values between layers to zero at random.
KOKORO_EVAL: Row = {
    "name": "kokoro-eval",
    "package": "xinference",
    "file": "xinference/model/audio/kokoro.py",
    "before": "55e842de893166388b1be5079d86feef4bc3bde146a37ed8772cc728a025b449",
    "after": "40941068abb8d67e6a4fdc5e67e76f7b69b79df68a8bb446029e94f035b2c39e",
    "old": "model=KModel(config=config_path, model=model_path).to(self._device),",
    "new": "model=KModel(config=config_path, model=model_path).to(self._device).eval(),",
    "reason": "Xinference runs Kokoro in training mode, where dropout sets a fifth of each sentence's values to zero",
}
# misaki imports pyopenjtalk, which has no wheel, for every Japanese text. It uses pyopenjtalk only if told to,
# and Kokoro never tells it to.
MISAKI_OPENJTALK: Row = {
    "name": "misaki-openjtalk",
    "package": "misaki",
    "file": "misaki/ja.py",
    "before": "5870e02433629475e95eaa0b023ac4948a9335e3dafbda0b6641156516c03c22",
    "after": "54b9080d5850e6943e619ae7da2e2e5f30312bdc9872f96f9b27def9d4a2b798",
    "old": "import pyopenjtalk\n",
    "new": "pyopenjtalk = None\n",
    "reason": "misaki imports pyopenjtalk for Japanese but does not use it; pyopenjtalk has no wheel",
    "extra": "japanese",
}
# mojimoji has no wheel for aarch64. A comparison over all of Unicode shows: after NFKC, the calls that misaki makes
# change these three quotation marks and nothing else.
MISAKI_MOJIMOJI: Row = {
    "name": "misaki-mojimoji",
    "package": "misaki",
    "file": "misaki/cutlet.py",
    "before": "7695fc7d853ae4e99679dff4ca0c8404d4804a6fb1059a9d6ad02baeabc4d4de",
    "after": "66b407a6ffa09f3e1290f17917c270f0d64bc6cebfcca3d9c101740af50ff00c",
    "old": "import mojimoji\n",
    "new": """
class mojimoji:
    zen_to_han = staticmethod(lambda text, kana: text.translate({0x2018: "`", 0x2019: "'", 0x201D: '"'}))
    han_to_zen = staticmethod(lambda text, digit, ascii: text)

""",
    "reason": "misaki needs mojimoji only for three Japanese quotation marks; mojimoji has no wheel for aarch64",
    "extra": "japanese",
}
# The class for the newer Mandarin model requests each voice from the hub and also runs in training mode.
KOKORO_ZH: Row = {
    "name": "kokoro-zh",
    "package": "xinference",
    "file": "xinference/model/audio/kokoro_zh.py",
    "before": "f8a966e7ab1592d031b33feefae765c70ef4d0a022e7f6ba673974fc1e0f8cad",
    "after": "a8355a55dc03d2f412b8f6b9800f61e060b15fe5f3b9f08dccafd18659542ccb",
    "old": "model=KModel(config=config_path, model=model_path).to(self._device),",
    "new": "model=KModel(config=config_path, model=model_path).to(self._device).eval(),",
    "reason": "Xinference requests each voice of Kokoro-82M-v1.1-zh from the hub, and runs it in training mode",
    "more": (
        (
            "        generator = self._model(text=input, voice=voice, speed=speed, **kwargs)\n",
            """        import os

        local_voice = os.path.join(self._model_path, "voices", f"{voice}.pt")
        voice = local_voice if os.path.isfile(local_voice) else voice
        generator = self._model(text=input, voice=voice, speed=speed, **kwargs)
""",
        ),
    ),
    "extra": "mandarin-1.1",
}
# Xinference gives Kokoro one language at launch. Kokoro's own pipelines can share one set of weights, so this makes a
# pipeline for each language at its first voice. A voice's first letter is its language. The newer Mandarin model has
# other weights and another alphabet, and remains as it is.
KOKORO_LANGUAGES: Row = {
    "name": "kokoro-languages",
    "package": "kokoro",
    "file": "kokoro/__init__.py",
    "before": "9ef0313aea8ce55a6949240d71c5fd4371ad3245e4df4473fcf61ea24bb10a96",
    "after": "a3e51f0b5580b2491e127829e8e29445694044f387b78fe41775dd1b62bc7b2c",
    "old": "from .pipeline import KPipeline",
    "new": """from . import pipeline


class KPipeline(pipeline.KPipeline):
    \"\"\"Speaks the language of each voice. All languages share the model.\"\"\"

    def __call__(self, text, voice=None, *args, **kwargs):
        name = voice.rsplit("/", 1)[-1] if isinstance(voice, str) else ""
        known = name[:1] in pipeline.LANG_CODES and name[1:3] in ("f_", "m_") and self.repo_id == "hexgrad/Kokoro-82M"
        letter = name[0] if known else self.lang_code
        if letter == self.lang_code:
            return super().__call__(text, voice, *args, **kwargs)
        others = self.__dict__.setdefault("others", {})
        if letter not in others:
            others[letter] = pipeline.KPipeline(letter, repo_id=self.repo_id, model=self.model or False)
        return others[letter](text, voice, *args, **kwargs)
""",
    "reason": "Xinference launches a process with its own weights for each language",
    "extra": "languages",
}
# In other languages than English, Kokoro divides a text at ".!?" alone and then leaves out what is too long.
KOKORO_WORDS: Row = {
    "name": "kokoro-words",
    "package": "kokoro",
    "file": "kokoro/pipeline.py",
    "before": "09da32aab781f7a163cbf9f6e379d53db40957cbbab50bc26a21c8440c0eabd6",
    "after": "9c64357ce16c9e33b84656d7532318a0c4c272ad19afd36e0ce28bd774b0e0d9",
    "old": "from .model import KModel\n",
    "new": "from . import voicefleet_text\nfrom .model import KModel\n",
    "reason": "Kokoro leaves out what is too long for it in other languages than English",
    "more": (
        (
            "        # Convert input to list of segments\n        if isinstance(text, str):\n",
            """        # Convert input to list of segments
        if isinstance(text, str):
            text = voicefleet_text.clean(text, self.lang_code)
""",
        ),
        (
            """                _, tokens = self.g2p(graphemes)
                for gs, ps, tks in self.en_tokenize(tokens):
""",
            """                _, tokens = self.g2p(graphemes)
                for piece in voicefleet_text.english(self.en_tokenize(tokens)):
                    gs, ps, tks = piece.text, piece.phonemes, piece.tokens
""",
        ),
        (
            """                    output = KPipeline.infer(model, ps, pack, speed) if model else None
                    if output""",
            """                    output = piece.trimmed(KPipeline.infer(model, ps, pack, speed)) if model else None
                    if output""",
        ),
        (
            "                for chunk in chunks:\n",
            """                for piece in voicefleet_text.pieces(graphemes, self.lang_code, self.g2p):
                    chunk, ps = piece.text, piece.phonemes
""",
        ),
        ("                    ps, _ = self.g2p(chunk)\n", ""),
        (
            """                    output = KPipeline.infer(model, ps, pack, speed) if model else None
                    yield self.Result(graphemes=chunk,""",
            """                    output = piece.trimmed(KPipeline.infer(model, ps, pack, speed)) if model else None
                    yield self.Result(graphemes=chunk,""",
        ),
    ),
    "adds": "kokoro_text",
}
# misaki reads English with en_core_web_sm unless it is told otherwise, and neither Kokoro nor Xinference tells it. This
# makes every English front end of a process share one transformer, which takes 0.5 GB. It reads a long text in parts of
# 144 pieces, 384 of them at once. Two at once keep its memory bounded.
MISAKI_TRF: Row = {
    "name": "misaki-trf",
    "package": "misaki",
    "file": "misaki/en.py",
    "before": "ddf67ad3bc4dd98143dcc9b6fbcde259b9d879d8b91684201cf0deeb07aa9910",
    "after": "90dcb78d42deac17e28ad72d6e2cac6d13b23c6a109331f4ec02aefbdef137bb",
    "old": """        name = f"en_core_web_{'trf' if trf else 'sm'}"\n""",
    "new": """        trf = True\n        name = f"en_core_web_{'trf' if trf else 'sm'}"\n""",
    "reason": "Xinference has no setting that makes Kokoro's English front end load a transformer model",
    "more": (
        (
            "        self.nlp = spacy.load(name, enable=components)\n",
            """        G2P.nlp = getattr(G2P, 'nlp', None) or spacy.load(name, enable=components)
        for node in G2P.nlp.pipeline[0][1].model.walk():
            if 'batch_size' in node.attrs:
                node.attrs['batch_size'] = 2
""",
        ),
    ),
    "extra": "en_core_web_trf",
}
# Each of Xinference's processes reads the catalogues of about 300 models, most of them for text, and matches each
# with every engine. That takes half of the time that the process needs to import Xinference.
AUDIO_ONLY: Row = {
    "name": "audio-only",
    "package": "xinference",
    "file": "xinference/model/__init__.py",
    "before": "c43b4bb6dce28015da70f6dd199ba9ff546f887530f79ef8032b1654f9ceb183",
    "after": "afb54347f90489abb0e48d51becb767d7c70e686e9f29269460cf7155c12f085",
    "old": "\n_install()\ndel _install\n",
    "new": "\nfrom .audio import _install\n\n_install()\ndel _install\n",
    "reason": "Each of Xinference's processes reads the catalogues of all types of models, not only of audio",
}
# Xinference checks no request, gives the model to one request until its whole text is spoken, goes on when the client
# has left, and sends nothing before the end. The package voicefleet_serving changes all of this.
SERVING_MODEL: Row = {
    "name": "serving-model",
    "package": "xinference",
    "file": "xinference/model/audio/__init__.py",
    "before": "362cde13b8ab14a0006930c3988392ead8b438b974681ddd9407988740ec84d2",
    "after": "0dde2b2253c2da87b45dbc6c71824f65365e8d722f2eb3c7234b32bc7b0e833a",
    "old": "from .engine_family import AUDIO_ENGINES, generate_engine_config_by_model_name\n",
    "new": """from .engine_family import AUDIO_ENGINES, generate_engine_config_by_model_name
from voicefleet_serving import model as serving

serving.install()
""",
    "reason": "Xinference lets a long request hold the model, accepts impossible ones, and cannot stream speech",
    "adds": "serving",
}
SERVING_API: Row = {
    "name": "serving-api",
    "package": "xinference",
    "file": "xinference/api/routers/audio.py",
    "before": "54d65b26f48dd87f018095fd529b83941a8779d2a18af8fe508785b4fb532420",
    "after": "6fb0da30a03d6b5ced050310a271b0c55302dd633847e144509feff825156ddb",
    "old": "from fastapi import Security\n",
    "new": "from fastapi import Security\nfrom voicefleet_serving import routes\n",
    "reason": "Xinference knows neither OpenAI's names nor its streams, and lists no voices",
    "more": (
        *(
            (f"        api.{name},\n", f'        routes.take_sound("{path}", api.{name}),\n')
            for path, name in (
                ("/v1/audio/embeddings", "create_audio_embedding"),
                ("/v1/audio/transcriptions", "create_transcriptions"),
                ("/v1/audio/translations", "create_translations"),
            )
        ),
        (
            """        "/v1/audio/speech",
        api.create_speech,
""",
            """        "/v1/audio/voices",
        routes.list_voices(api),
        methods=["GET"],
        dependencies=([Security(auth, scopes=["models:read"])] if is_auth else None),
    )
    router.add_api_route(
        "/v1/audio/speech",
        routes.create_speech(api),
""",
        ),
    ),
    "adds": "serving",
}
# Xinference starts two processes one after the other. Each imports all of Xinference, which takes six seconds. With
# these repairs, the first process starts the second earlier, and both import at the same time.
START_LOCAL: Row = {
    "name": "start-local",
    "package": "xinference",
    "file": "xinference/deploy/local.py",
    "before": "713524060358092cde7e0fff579016e3da03c6ffbfc19c8ac329589744a7aad6",
    "after": "a3a4c96f7b99cdec149831134310304421435e70fc5a9818408f5d0941c538a4",
    "old": """from ..core.supervisor import SupervisorActor
from .utils import health_check
from .worker import start_worker_components
""",
    "new": "from .utils import health_check\n",
    "reason": "Xinference's first process imports all of Xinference before it starts the second, which imports it too",
    "more": (
        (
            "    from .utils import create_worker_actor_pool, update_all_formatter_addresses\n",
            """    from ..core.supervisor import SupervisorActor
    from .utils import create_worker_actor_pool, update_all_formatter_addresses
    from .worker import start_worker_components
""",
        ),
    ),
}
START_HOST: Row = {
    "name": "start-host",
    "package": "xinference",
    "file": "xinference/deploy/local_host.py",
    "before": "7db310f34b3e89f7fc4be2a296a9ea49de6fb88f54f641c065dc4c2d3694f96f",
    "after": "8639854822a70e1ae4730d2f3ad92acd256f6b28efb063c9e4ba76fb26bef5cf",
    "old": """        from ..core.supervisor import SupervisorActor
        from .local import LOCAL_SUPERVISOR_UID
        from .utils import health_check
""",
    "new": "",
    "reason": START_LOCAL["reason"],
    "more": (
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
}
# Three processes of the service import Xinference. Each also imported Anthropic's client and transformers, which speech
# does not need there: 3,300 of 6,300 modules, and two fifths of the CPU seconds.
START_TYPES: Row = {
    "name": "start-types",
    "package": "xinference",
    "file": "xinference/types.py",
    "before": "65f5406e5b42715cb3499ef1145441f731c5388f72bc9656f8257f0b8d60ae58",
    "after": "b5bc7034c1af71ecb9aab61a2e08347a4c36e13a11f38958b5d9006387b80869",
    "old": """    from anthropic.types import ContentBlock, Usage

    ANTHROPIC_AVAILABLE = True
""",
    "new": """    raise ImportError("Nothing uses these types.")
""",
    "reason": "Each of Xinference's processes imports Anthropic's client, for types that nothing uses",
}
START_OCR: Row = {
    "name": "start-ocr",
    "package": "xinference",
    "file": "xinference/model/image/ocr/dots_ocr.py",
    "before": "e520addf37ddfa57a9c6d7828de9e131d8916cd223c12613f71514749c3571e8",
    "after": "886448dc1faa4215752f1099bfd9055315c28936b7213ff6b1b49fd4ecfa964b",
    "old": "import torch\nimport transformers\n",
    "new": "import torch\n",
    "reason": "Each of Xinference's processes imports transformers, for one model that reads text in pictures",
    "more": (
        (
            """        if transformers.__version__ != "4.51.3":
""",
            """        import transformers

        if transformers.__version__ != "4.51.3":
""",
        ),
    ),
}
# Xinference hands each sound file to the program ffmpeg, which no release has. libsndfile is in every release, for
# Kokoro's answers, and reads WAV, MP3, FLAC, Ogg and Opus. A file that says little and unpacks to much is refused.
# The token that pads a batch is named in a file that the catalogue does not need: it is the one that ends a text.
# A long sound is divided at pauses, because transformers loses text where it joins pieces that overlap. With times for
# words or segments, it joins them by the times.
WHISPER_SOUNDFILE: Row = {
    "name": "whisper-soundfile",
    "package": "xinference",
    "file": "xinference/model/audio/whisper.py",
    "before": "468863289e301f669d558df808473d41161d24d0e555619d69778076746b61a6",
    "after": "74801173acc8195f8fd33748d20d886fcbe9f364977a1056e0b9af1a7a010572",
    "old": """                if len(requests) > 1 and isinstance(audio, bytes):
                    audio = self._decode_audio(audio)
""",
    "new": """                if isinstance(audio, bytes):
                    audio = self._decode_audio(audio)
""",
    "reason": "Xinference decodes sound for Whisper with the program ffmpeg, which is not part of a release",
    "more": (
        (
            """                audios.append(audio)
                indices.append(index)
""",
            """                timed = "return_timestamps" in request["pipeline_kwargs"]
                rate = self._model.feature_extractor.sampling_rate
                for part in [audio] if timed else voicefleet_parts.parts(audio, rate):
                    audios.append(part)
                    indices.append(index)
""",
        ),
        (
            """            request = requests[index]
            outputs[index] = self._format_result(
""",
            """            request = requests[index]
            if "text" in outputs[index]:
                outputs[index]["text"] += " " + result["text"].lstrip()
                continue
            outputs[index] = self._format_result(
""",
        ),
        (
            "from .batch import AudioRequestBatcher\n",
            "from . import voicefleet_parts\nfrom .batch import AudioRequestBatcher\n",
        ),
        (
            "        processor = AutoProcessor.from_pretrained(self._model_path)\n",
            """        processor = AutoProcessor.from_pretrained(self._model_path)
        processor.tokenizer.pad_token = processor.tokenizer.pad_token or processor.tokenizer.eos_token
""",
        ),
        (
            "        from transformers.pipelines.audio_utils import ffmpeg_read\n",
            """        import io
        import math
        import shutil

        import soundfile
        from scipy.signal import resample_poly
        from transformers.pipelines.audio_utils import ffmpeg_read

        from ...core.exceptions import InvalidAudioInputError
""",
        ),
        (
            """        return ffmpeg_read(audio, self._model.feature_extractor.sampling_rate)
""",
            """        rate = self._model.feature_extractor.sampling_rate
        try:
            with soundfile.SoundFile(io.BytesIO(audio)) as sound:
                own = sound.samplerate
                if not (8000 <= own <= 192000 and 0 < sound.frames <= 3600 * own and sound.channels <= 8):
                    raise InvalidAudioInputError("The sound must have 8 to 192 kHz, 8 channels and an hour at most.")
                mono = sound.read(dtype="float32", always_2d=True).mean(axis=1)
        except soundfile.LibsndfileError:
            if shutil.which("ffmpeg"):
                return ffmpeg_read(audio, rate)
            raise InvalidAudioInputError("The sound must be WAV, MP3, FLAC, Ogg or Opus.") from None
        step = math.gcd(rate, own)
        return resample_poly(mono, rate // step, own // step).astype("float32")
""",
        ),
    ),
    "extra": "whisper-base",
    "adds": "sound_parts",
}
REPAIRS = (
    KOKORO_EVAL,
    KOKORO_WORDS,
    KOKORO_LANGUAGES,
    SERVING_MODEL,
    SERVING_API,
    AUDIO_ONLY,
    START_LOCAL,
    START_HOST,
    START_TYPES,
    START_OCR,
    MISAKI_OPENJTALK,
    MISAKI_MOJIMOJI,
    MISAKI_TRF,
    KOKORO_ZH,
    WHISPER_SOUNDFILE,
)
