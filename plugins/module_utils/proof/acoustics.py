# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether samples can be speech.

`measure` describes samples in numbers. `judge` turns the numbers into findings that name what is not speech: silence,
noise, a constant tone, a clipped, cut or looped file, a wrong length. It does not recognise words.

The limits of `judge` lie between the extremes of about 400 measured files. On one side is speech at 24 kHz: espeak-ng
(9 languages, 40 voices, 110 to 220 words a minute), flite and recorded people. On the other side are generated noises,
tones and chords, cut, looped and clipped speech, and Kokoro's output from random weights. A comment beside each limit
gives the nearest file of each side.
"""

from __future__ import annotations

import cmath
import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from operator import mul, sub

FULL_SCALE = 32768.0
SILENT_DBFS = -60.0
# The 54 voices of Kokoro that say one sentence are 5.6 dB apart and more. A voice that says it again is 0.7 dB from
# itself, shifted in time 3.1 dB, and with dropout 3.2 dB. See docs/ladder.md.
ALIKE_DB = 4.0
NOTHING_DB = -90.0  # where a share of power is no more than rounding


@dataclass(frozen=True)
class Measurements:
    """Samples described in numbers. Shares are 0..1 of the clip, or of its sounding part if the comment says so."""

    seconds: float
    sample_rate: float  # Hz
    peak: float  # 0..1 of full scale
    rms_dbfs: float  # of the sounding part, DC removed
    dc_offset: float  # mean, -1..1
    clipped_share: float  # samples within 2 % of the peak
    crest: float  # 99.9th over 95th percentile of the absolute samples: 1 where all peaks are cut to one height
    silence_share: float  # 20 ms frames that do not sound
    sounding_seconds: float  # from the first to the last sounding frame
    level_spread_db: float  # standard deviation of the level over sounding frames
    flatness: float  # spectral flatness, median over sounding frames: white noise 0.56, a tone 0
    centroid_hz: float  # spectral centroid, median over sounding frames
    centroid_spread: float  # octaves, standard deviation of the centroid over sounding frames
    tilt_db: float  # dB per octave between 125 Hz and 8 kHz: white 0, pink -3, brown -6
    high_db: float  # power from 4.5 to 10 kHz relative to 80 Hz to 10 kHz, median over sounding frames
    highest_db: float  # the same in the brightest frame
    asymmetry: float  # of rises and falls within a pitch period: above 0 if the sound decays more slowly than it starts
    voiced_share: float  # sounding frames with a pitch of 60 to 400 Hz
    pitch_slope: float  # semitones per second: below 0 if the voice falls from the first to the last frame
    held_share: float  # sounding frames whose spectrum is the same 60 ms later
    repetition: float  # 0..1: how well the clip agrees with a shifted copy of itself
    tail_db: float  # level of the last 10 ms, relative to the sounding part
    floor_db: float  # level of the quietest 20 ms frames (the 2nd percentile), relative to the sounding part


@dataclass(frozen=True)
class Finding:
    """The result of one check. `ok` is None if the check could not run: UNVERIFIED, never passed."""

    name: str  # stable, for machines: silence, noise, tone, clipped, …
    level: str  # the level of proof that it belongs to
    ok: bool | None
    value: float | str | None
    limit: str
    sentence: str  # for people

    @classmethod
    def of(cls, name: str, level: str, ok: bool, value: float | str | None, limit: str, good: str, bad: str) -> Finding:
        """Return the result of a check that could run, with the sentence that applies."""
        return cls(name, level, ok, value, limit, good if ok else bad)


@dataclass(frozen=True)
class Expectation:
    """How long the spoken text may last, in seconds."""

    min_seconds: float
    max_seconds: float


_TWIDDLES: dict[int, list[complex]] = {}


def fft(values: Sequence[complex]) -> list[complex]:
    """Return the discrete Fourier transform. The length must be a power of two (1024 points: 2 ms in CPython)."""
    size = len(values)
    if size == 1:
        return [complex(values[0])]
    if size == 2:
        return [values[0] + values[1], values[0] - values[1]]
    half = size // 2
    twiddles = _TWIDDLES.get(size)
    if twiddles is None:
        twiddles = _TWIDDLES[size] = [cmath.exp(-2j * math.pi * k / size) for k in range(half)]
    even, turned = fft(values[::2]), list(map(mul, twiddles, fft(values[1::2])))
    return [a + b for a, b in zip(even, turned)] + [a - b for a, b in zip(even, turned)]


def power_pair(first: Sequence[float], second: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the power spectra (bins 0 to n/2 - 1) of two real frames of one length, by a single transform."""
    size = len(first)
    both = fft(list(map(complex, first, second)))
    one, two = [abs(both[0].real) ** 2], [abs(both[0].imag) ** 2]
    for k in range(1, size // 2):
        a, b = both[k], both[size - k].conjugate()
        one.append(abs(a + b) ** 2 / 4)
        two.append(abs(a - b) ** 2 / 4)
    return one, two


def hann(size: int) -> list[float]:
    """Return the Hann window of that many points."""
    return [0.5 - 0.5 * math.cos(2 * math.pi * i / size) for i in range(size)]


def decibel(power: float) -> float:
    """Return 10 log10, with -120 for silence."""
    return 10 * math.log10(power) if power > 1e-12 else -120.0


def _spread(values: Sequence[float]) -> float:
    """Return the standard deviation, or 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _pick(items: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the items, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def _frame_power(samples: Sequence[int]) -> float:
    """Return the mean power of a frame without its DC, full scale = 1."""
    size = len(samples)
    if not size:
        return 0.0
    mean = sum(samples) / size
    power: float = sum(map(mul, samples, samples)) / size - mean * mean
    return max(0.0, power) / (FULL_SCALE * FULL_SCALE)


def _low_pass(samples: Sequence[float], width: int, step: int) -> list[float]:
    """Apply two moving sums of `width`, then keep every `step`-th sample."""
    values: list[float] = list(samples)
    for _turn in range(2):
        sums = [0.0, *accumulate(values)]
        values = list(map(sub, sums[width:], sums[: len(sums) - width]))
    return values[::step]


def measure(samples: array[int], sample_rate: int) -> Measurements:
    """Describe 16-bit mono samples. The work is bounded for long clips: about 0.5 s of CPU for 10 s of audio."""
    count = len(samples)
    seconds = count / sample_rate
    size = max(1, sample_rate // 50)
    powers = [_frame_power(samples[i : i + size]) for i in range(0, count - size + 1, size)]
    loud = decibel(sorted(powers)[int(len(powers) * 0.95)]) if powers else -120.0
    peak = max(map(abs, samples)) / FULL_SCALE if count else 0.0
    floor = 10 ** ((loud - 35) / 10)
    sounding = [i for i, power in enumerate(powers) if power > floor] if loud > SILENT_DBFS else []
    mean = sum(samples) / count / FULL_SCALE if count else 0.0
    if not sounding:
        nothing = dict.fromkeys((item.name for item in fields(Measurements)), 0.0)
        known = {"seconds": seconds, "peak": peak, "rms_dbfs": loud, "dc_offset": mean, "silence_share": 1.0}
        return Measurements(**{**nothing, **known, "sample_rate": sample_rate, "tail_db": -120.0, "floor_db": -120.0})
    level = decibel(sum(powers[i] for i in sounding) / len(sounding))
    bound = int(peak * FULL_SCALE * 0.98)
    near_peak = sum(1 for sample in samples if sample >= bound or sample <= -bound)
    heights = sorted(map(abs, samples[:: 1 + count // 200000]))
    edge = max(1, sample_rate // 100)
    flatness, centroids, tilt, held, high = _spectra(samples, sample_rate, size, sounding)
    voiced, slope = _pitch(samples, sample_rate, size, sounding)
    return Measurements(
        seconds=seconds,
        sample_rate=sample_rate,
        peak=peak,
        rms_dbfs=level,
        dc_offset=mean,
        clipped_share=near_peak / count,
        crest=heights[int(len(heights) * 0.999)] / max(1, heights[int(len(heights) * 0.95)]),
        silence_share=1 - len(sounding) / len(powers),
        sounding_seconds=(sounding[-1] - sounding[0] + 1) * size / sample_rate,
        level_spread_db=_spread([decibel(powers[i]) for i in sounding]),
        flatness=flatness,
        centroid_hz=_median(centroids),
        centroid_spread=_spread([math.log2(c) for c in centroids]),
        tilt_db=tilt,
        high_db=_median(high),
        highest_db=max(high, default=NOTHING_DB),
        asymmetry=_asymmetry(samples, sample_rate),
        voiced_share=voiced,
        pitch_slope=slope,
        held_share=held,
        repetition=_repetition(samples, sample_rate, bound // 20),
        tail_db=decibel(_frame_power(samples[-edge:])) - level,
        floor_db=decibel(sorted(powers)[len(powers) // 50]) - level,
    )


def _spectra(
    samples: array[int], rate: int, size: int, sounding: Sequence[int]
) -> tuple[float, list[float], float, float, list[float]]:
    """Measure spectra at 64 places or fewer.

    Return median flatness, centroids (Hz), tilt (dB per octave), share of held spectra, and shares of power above
    4.5 kHz (dB).
    """
    points = 1 << max(6, round(math.log2(0.04 * rate)))
    apart = 3 * size
    window = hann(points)
    places = [i * size for i in sounding if i * size + apart + points <= len(samples)]
    alive = set(sounding)
    low, high = max(1, int(80 * points / rate)), min(points // 2, int(10000 * points / rate))
    bright = int(4500 * points / rate)
    edges = [int(f * points / rate) for f in (125, 250, 500, 1000, 2000, 4000, 8000) if f < rate / 2]
    flats, centroids, shares, total = [], [], [], [0.0] * (points // 2)
    alike = pairs = 0
    for at in _pick(places, 64):
        here = list(map(mul, samples[at : at + points], window))
        later = list(map(mul, samples[at + apart : at + apart + points], window))
        power, after = power_pair(here, later)
        band = power[low:high]
        energy = sum(band)
        if energy <= 0:
            continue
        quiet = energy / len(band) * 1e-9
        flats.append(math.exp(sum(math.log(p + quiet) for p in band) / len(band)) / (energy / len(band)))
        centroids.append(sum(map(mul, band, range(low, high))) / energy * rate / points)
        shares.append(decibel(sum(power[bright:high]) / energy + 10 ** (NOTHING_DB / 10)))
        total = [t + p / energy for t, p in zip(total, power)]
        if at // size + 3 in alive:
            norm = math.sqrt(energy * sum(after[low:high]))
            pairs += 1
            alike += sum(math.sqrt(a * b) for a, b in zip(band, after[low:high])) > 0.97 * norm
    octaves = [decibel(sum(total[a:b]) / (b - a)) for a, b in zip(edges, edges[1:]) if b > a]
    centre = (len(octaves) - 1) / 2
    weights = [i - centre for i in range(len(octaves))]
    tilt = sum(map(mul, weights, octaves)) / (sum(w * w for w in weights) or 1.0)
    return _median(flats), centroids or [1.0], tilt, alike / pairs if pairs else 0.0, shares


def _asymmetry(samples: array[int], rate: int) -> float:
    """Return the skewness of the changes of loudness within 1 ms, over the first 10 s at most.

    A vocal tract is struck by each pulse of the voice and then rings: loudness rises fast and falls slowly. The value
    of a reversed file is the negative of the file's own.
    """
    x = samples[: 10 * rate]
    rough = list(map(sub, x[1:], x))
    energy = [0, *accumulate(map(mul, rough, rough))]
    width, step = max(1, rate // 1000), max(1, rate // 2000)
    loudness = [(energy[i + width] - energy[i]) ** 0.15 for i in range(0, len(rough) - width, step)]
    changes = list(map(sub, loudness[2:], loudness))
    squares = sum(map(mul, changes, changes))
    return sum(c**3 for c in changes) / len(changes) / (squares / len(changes)) ** 1.5 if squares > 0 else 0.0


def outline(samples: array[int], rate: int) -> list[float]:
    """Return levels (dB) of 12 bands at 48 places of the sounding part, without its volume and length."""
    size, points, places = max(1, rate // 50), 1 << max(6, round(math.log2(0.04 * rate))), 48
    powers = [_frame_power(samples[i : i + size]) for i in range(0, len(samples) - size + 1, size)]
    energy = [0.0, *accumulate(powers)]
    if energy[-1] <= 0 or len(samples) < points:
        return []
    # By its energy, the sounding part is the same in spite of other noise at its ends.
    first, last = (int(_where(energy, share * energy[-1]) * size) for share in (0.005, 0.995))
    edges = [int(100 * 80 ** (k / 12) * points / rate) for k in range(13)]
    window, levels = hann(points), []
    for k in range(0, places, 2):
        starts = (min(first + (last - first) * (k + i) // places, len(samples) - points) for i in (0, 1))
        for power in power_pair(*(list(map(mul, samples[at : at + points], window)) for at in starts)):
            levels += [10 * math.log10(sum(power[a : max(b, a + 1)]) + 1) for a, b in zip(edges, edges[1:])]
    lowest = max(levels) - 50
    levels = [max(level, lowest) for level in levels]
    mean = sum(levels) / len(levels)
    return [level - mean for level in levels]


def _where(sums: Sequence[float], value: float) -> float:
    """Return where rising sums reach a value, between two of them."""
    after = bisect_left(sums, value)
    return after - (sums[after] - value) / (sums[after] - sums[after - 1])


def apart(one: Sequence[float], two: Sequence[float]) -> float:
    """Return how far two outlines are apart (dB, root mean square)."""
    differences = list(map(sub, one, two))
    return math.sqrt(sum(map(mul, differences, differences)) / max(1, len(differences)))


def judge_voice(samples: array[int], rate: int, others: dict[str, list[float]], voice: str) -> list[Finding]:
    """Compare a voice with the others that said the same text, and add its outline to them."""
    mine = outline(samples, rate)
    known = [(apart(mine, theirs), name) for name, theirs in others.items() if name != voice and theirs and mine]
    others[voice] = mine
    if not known:
        return []
    distance, nearest = min(known)
    said = f"It is {distance:.1f} dB from the voice that is most like it, {nearest}."
    bad = f"It sounds like {nearest}: they are {distance:.2f} dB apart. The server ignores the voice."
    limit = f"{ALIKE_DB} dB or more from every other voice"
    return [Finding.of("own_voice", "acoustic", distance >= ALIKE_DB, round(distance, 3), limit, said, bad)]


def _pitch(samples: array[int], rate: int, size: int, sounding: Sequence[int]) -> tuple[float, float]:
    """Look for a pitch of 60 to 400 Hz below 1 kHz, at 80 sounding places at most.

    Return the share of places that have one, and how it moves over all of them (semitones per second).
    """
    step = max(1, rate // 6000)
    slow = rate / step
    length, shortest, longest = int(slow * 0.04), int(slow / 400), int(slow / 60) + 1
    tried, voiced = 0, []
    for frame in _pick(sounding, 80):
        start = frame * size
        raw = samples[start : start + (length + longest + 2) * step + 4 * step]
        x = _low_pass(raw, 3 * step, step)
        x = list(map(sub, x[1:], x))  # raise the upper partials: noise that falls with frequency looks periodic
        if len(x) < length + longest:
            continue
        tried += 1
        base = x[:length]
        energy = sum(map(mul, base, base))
        alike = []
        for lag in range(shortest, longest):
            moved = x[lag : lag + length]
            norm = math.sqrt(energy * sum(map(mul, moved, moved)))
            alike.append(sum(map(mul, base, moved)) / norm if norm > 0 else 0.0)
        if max(alike) > 0.7:
            voiced.append((start / rate, 12 * math.log2(slow / (shortest + _first_peak(alike)))))
    return (len(voiced) / tried if tried else 0.0), _slope(voiced)


def _first_peak(values: Sequence[float]) -> int:
    """Return where the first peak is that is nearly the highest. Two periods of a voice agree as well as one does."""
    enough = 0.9 * max(values)
    inner = range(1, len(values) - 1)
    peaks = (i for i in inner if values[i] >= enough and values[i - 1] <= values[i] >= values[i + 1])
    return next(peaks, values.index(max(values)))


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line through points of time and pitch (semitones), without those far from the median."""
    middle = _median([pitch for _time, pitch in points])
    near = [(time, pitch) for time, pitch in points if abs(pitch - middle) < 6]
    if len(near) < 10:
        return 0.0
    mean = sum(time for time, _pitch in near) / len(near)
    spread = sum((time - mean) ** 2 for time, _pitch in near)
    return sum((time - mean) * pitch for time, pitch in near) / spread if spread > 0 else 0.0


def _repetition(samples: array[int], rate: int, audible: int) -> float:
    """Return how much of the clip repeats: exactly (bytes found twice), or as correlation with a shifted copy.

    The correlation covers the first 20 s below 750 Hz, with shifts of 0.15 s and more, if at least a quarter of the
    energy overlaps.
    """
    data, width = samples.tobytes(), 512
    probes = [i for i in range(0, len(samples) - width, rate // 20) if max(samples[i : i + width]) > audible]
    again = sum(_found_again(data, 2 * i, 2 * width) for i in _pick(probes, 200))
    exact = again / len(probes[:200]) if probes else 0.0

    step = max(1, rate // 1500)
    x = _low_pass(samples[: 20 * rate], step, step)
    if not x:
        return exact
    mean = sum(x) / len(x)
    x = [value - mean for value in x]
    energy = [0.0, *accumulate(map(mul, x, x))]
    points = 1 << (2 * len(x)).bit_length()
    spectrum = fft(x + [0.0] * (points - len(x)))
    lags = fft([(s * s.conjugate()).real for s in spectrum])
    best = 0.0
    for lag in range(int(0.15 * rate / step), len(x)):
        early, late = energy[len(x) - lag], energy[-1] - energy[lag]
        if min(early, late) < 0.25 * energy[-1]:
            break
        best = max(best, lags[lag].real / points / math.sqrt(early * late))
    return max(exact, best)


def _found_again(data: bytes, at: int, width: int) -> bool:
    """Whether the samples at `at` occur again later, or occurred before."""
    needle = data[at : at + width]
    found = data.find(needle)
    while found >= 0:
        if found != at and found % 2 == 0:
            return True
        found = data.find(needle, found + 1)
    return False


def judge(m: Measurements, expected: Expectation) -> list[Finding]:
    """Return the findings of the acoustic level. Name one cause once: noise, for example, is not also clipped."""
    findings: list[Finding] = []

    def look(name: str, ok: bool, value: float, limit: str, good: str, bad: str) -> None:
        findings.append(Finding.of(name, "acoustic", ok, round(value, 3), limit, good, bad))

    good = f"It is not silence: {m.rms_dbfs:.0f} dBFS."
    bad = f"The audio is silence: its loudest part has {m.rms_dbfs:.0f} dBFS."
    limit = f"loudest part above {SILENT_DBFS:.0f} dBFS"
    look("silence", m.sounding_seconds > 0, m.rms_dbfs, limit, good, bad)
    if not findings[0].ok:
        return findings
    if m.sounding_seconds < 0.6:
        # A single word of espeak-ng can measure like a tone or a noise.
        said = f"It sounds for {m.sounding_seconds:.2f} s: too little to tell speech from noise. Use a longer text."
        findings.append(Finding("enough", "acoustic", None, round(m.sounding_seconds, 3), "0.6 s or more", said))
        return findings + _length(m, expected)

    # Speech 7 to 13 dB and held 0 to 0.08; a sweep 0.1 dB; tones, chords and their progressions held 0.67 to 1.
    voiced = m.voiced_share >= 0.15
    tone = m.held_share > 0.4 or (voiced and m.level_spread_db < 3)
    # Voiced: speech 0.38 to 0.95, noises 0 to 0.01. A whisper also has 0, but its level moves by 7.8 dB and its
    # centroid by 0.53 octaves. Brown noise, which moves most, has 3.2 dB and 0.45 octaves.
    noise = not tone and not voiced and (m.level_spread_db < 5 or m.centroid_spread < 0.48)
    moves = f"its level moves by {m.level_spread_db:.1f} dB (speech: by 7 or more)"
    good = "Its sound changes as speech does."
    bad = f"The audio is a constant tone: its spectrum stays the same in {m.held_share:.0%} of it and {moves}."
    limit = "spectrum held in at most 0.4 of the sound, level moving by 3 dB or more"
    look("tone", not tone, m.held_share, limit, good, bad)
    good = f"It has the pitch of a voice in {m.voiced_share:.0%} of its sound."
    bad = f"The audio is {_colour(m)}: a pitch in {m.voiced_share:.0%} of it (speech: 35% or more), {moves}."
    limit = "a pitch in at least 0.15 of the sound, or the movement of a whisper"
    look("noise", not noise, m.voiced_share, limit, good, bad)
    if not (tone or noise):
        # Level of the 2 % under the peak: speech below 0.001, clipped by 6 dB 0.013. Crest: speech 1.7 and more;
        # clipped, then filtered or compressed, 1.2 and less.
        bad = (
            f"The audio is clipped: {m.clipped_share:.1%} of its samples lie at the peak and its highest peaks are"
            f" {m.crest:.2f} times its loud samples (speech: 1.7 or more)."
        )
        limit = "at most 0.004 of the samples at the peak, crest 1.4 or more"
        whole = m.clipped_share <= 0.004 and m.crest >= 1.4
        look("clipped", whole, m.clipped_share, limit, "Its peaks are not cut.", bad)
        # Brightest frame: speech -8 dB and more. Sound of 8 kHz -27 and less; where it passes, its breath does not.
        bad = (
            f"The audio has nothing above 4.5 kHz ({m.highest_db:.0f} dB at most): it was 8 kHz sound, or is no voice."
        )
        wide = m.highest_db > -38
        look("narrow", wide, m.highest_db, "-38 dB or more above 4.5 kHz", "It has the sounds above 4.5 kHz.", bad)
        # Median frame: speech -44 dB and more, through a telephone filter -49; filtered pulses -62, sines -90.
        if wide:
            bad = f"The audio is no voice: {m.high_db:.0f} dB above 4.5 kHz in half of it; breath has -40 or more."
            look("breath", m.high_db > -55, m.high_db, "-55 dB or more above 4.5 kHz", "It has breath.", bad)
        # Kokoro's 54 voices -0.02 and more, espeak-ng -0.17 and more. Reversed, each has the opposite sign. Where they
        # overlap, the pitch decides. In a statement it falls: at -0.05 and less by 0.2 semitones a second and more.
        rises = m.asymmetry < -0.05 and m.pitch_slope > 0.3
        bad = (
            f"The audio is reversed: its sounds swell slowly and stop at once ({m.asymmetry:+.2f}; speech: above 0)"
            + (f", and its voice rises by {m.pitch_slope:.1f} semitones a second." if rises else ".")
        )
        limit = "-0.18 or more; -0.05 or more if the voice rises by 0.3 semitones a second"
        whole = m.asymmetry > -0.18 and not rises
        look("reversed", whole, m.asymmetry, limit, "Its sounds start fast and fade.", bad)
        good, bad = (f"{what} {m.rms_dbfs:.0f} dBFS." for what in ("Its level is", "The audio is too quiet:"))
        look("level", m.rms_dbfs > -45, m.rms_dbfs, "-45 dBFS or more", good, bad)
        good = f"{m.silence_share:.0%} of it are pauses."
        bad = f"The audio is mostly silence: {m.silence_share:.0%} of it."
        look("mostly_silent", m.silence_share <= 0.7, m.silence_share, "at most 0.7", good, bad)
        # Speech -51 dB and less, cut inside a sound -28; with white noise 20 dB below it -20.
        limit = "pauses 25 dB or more below the sounding part"
        bad = f"The audio has noise in all of it: its pauses are only {-m.floor_db:.0f} dB below its sound."
        look("noisy", m.floor_db <= -25, m.floor_db, limit, "Its pauses are quiet.", bad)
        # The last 10 ms: -35 dB and less in whole files; -20 dB and more in files cut inside a sound.
        if m.floor_db <= -25:
            bad = f"The audio is truncated: it ends in the middle of a sound ({m.tail_db:+.0f} dB)."
            limit = "ends 25 dB or more below the sounding part"
            look("truncated", m.tail_db <= -25, m.tail_db, limit, "It ends in quiet.", bad)
    bad = f"The audio has a DC offset of {m.dc_offset:+.3f} of full scale."
    look("dc_offset", abs(m.dc_offset) <= 0.05, m.dc_offset, "at most 0.05", "It is centred on zero.", bad)
    if not tone:
        # Speech up to 0.46 (the highest in clips under 2 s), repeated files 0.78 to 1.
        bad = f"The audio is looped: it agrees to {m.repetition:.0%} with a shifted copy of itself."
        look("looped", m.repetition <= 0.65, m.repetition, "at most 0.65", "No part of it repeats.", bad)
    return findings + _length(m, expected)


def _length(m: Measurements, expected: Expectation) -> list[Finding]:
    """Check that the clip is as long as its text takes."""
    sounds, least, most = round(m.sounding_seconds, 3), expected.min_seconds, expected.max_seconds
    short = (
        f"The audio is too short for the text: it sounds for {m.sounding_seconds:.2f} s; at least {least:.2f} s were"
        " expected."
    )
    enough = f"It sounds for {m.sounding_seconds:.2f} s, long enough for the text."
    long = f"The audio is too long for the text: {m.seconds:.2f} s; at most {most:.2f} s expected."
    fine = f"It lasts {m.seconds:.2f} s, no longer than the text needs."
    lasts = m.sounding_seconds >= least
    ends = m.seconds <= most
    return [
        Finding.of("too_short", "acoustic", lasts, sounds, f"{least:.2f} s or more", enough, short),
        Finding.of("too_long", "acoustic", ends, round(m.seconds, 3), f"{most:.2f} s or less", fine, long),
    ]


def _colour(m: Measurements) -> str:
    """Name a noise by its flatness and tilt (white 0, pink -3, brown -6 dB per octave)."""
    if m.flatness > 0.45 and abs(m.tilt_db) < 1:
        return "white noise"
    if m.flatness > 0.15 and -4.2 < m.tilt_db < -2:
        return "pink noise"
    return "noise"
