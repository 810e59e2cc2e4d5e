"""A script spoken: a speech engine is run as a program for each line, and the lines become one recording.

Engines are programs of their own, under licences of their own: none is imported, and no voice comes with the project.
"""

import shutil
import subprocess
import tempfile
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm.app.loudness import Samples, integrated_loudness, normalise_loudness
from llm.app.script import Episode, Line

RATE = 24_000  # Hz of the recording: speech has little above 12 kHz, and no engine here gives more
LINE_PAUSE_S, CHAPTER_PAUSE_S = 0.45, 1.1
SPEAKER_LUFS = -20.0  # each voice before the whole is levelled: engines' voices differ by several dB
TIMEOUT_S = 120  # of one line
WRITTEN = {"…": ".", "—": ", ", "–": " to ", "“": '"', "”": '"', "’": "'", "`": "", "*": ""}  # what engines trip over


@dataclass(frozen=True)
class Engine:
    """A program that speaks."""

    program: str
    install: str  # what to do where it is missing
    licence: str
    voices: tuple[str, ...]  # of the speakers in turn; empty: they have to be named
    options: tuple[str, ...]  # with {voice} and {wav}; the text is read from standard input


ENGINES = {
    "flite": Engine(
        "flite",
        "apt-get install flite",
        "flite: BSD-like (Carnegie Mellon University), its voices as well",
        ("slt", "awb", "rms"),
        ("-voice", "{voice}", "-f", "/dev/stdin", "-o", "{wav}"),
    ),
    "espeak-ng": Engine(
        "espeak-ng",
        "apt-get install espeak-ng, or brew install espeak-ng",
        "espeak-ng: GPL-3.0-or-later; run as a program, what it says is yours",
        ("en-gb", "en-us+f3", "en-gb-scotland+m3"),
        ("-v", "{voice}", "-s", "155", "-w", "{wav}", "--stdin"),
    ),
    "piper": Engine(
        "piper",
        "pip install piper-tts in an environment of its own, and download voices: see docs/podcast.md",
        "piper: GPL-3.0-or-later; run as a program; each voice has a licence of its own, in its MODEL_CARD",
        (),
        ("--model", "{voice}", "--output_file", "{wav}"),
    ),
}


@dataclass(frozen=True)
class Spoken:
    """A line with the seconds between which it is heard."""

    line: Line
    start: float
    end: float


@dataclass(frozen=True)
class Recording:
    """An episode as it is heard."""

    samples: Samples
    spoken: Sequence[Spoken]
    chapters: Sequence[tuple[float, str]]  # start and title

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / RATE


def choose_engine(name: str | None) -> Engine:
    """The engine of that name, or the first that is installed and has voices.

    Raises ValueError with a line that says what to install.
    """
    wanted = [ENGINES[name]] if name else [engine for engine in ENGINES.values() if engine.voices]
    for engine in wanted:
        if shutil.which(engine.program):
            return engine
    missing = " or ".join(f"{engine.program} ({engine.install})" for engine in wanted)
    raise ValueError(f"no speech engine is installed: install {missing}")


def cast_voices(episode: Episode, engine: Engine, named: Sequence[str]) -> dict[str, str]:
    """The voice of each speaker: those that are named, in turn, else the engine's own; the last one serves the rest.

    Raises ValueError where none is named and the engine has none.
    """
    voices = [*named] or [*engine.voices]
    if not voices:
        raise ValueError(f"{engine.program} has no voice of its own: name some with --voice; see docs/podcast.md")
    return {speaker: voices[min(i, len(voices) - 1)] for i, speaker in enumerate(episode.speakers)}


def plain_text(text: str) -> str:
    """The text as it is given to an engine.

    >>> plain_text("It’s “so” …")
    'It\\'s "so" .'
    """
    for written, said in WRITTEN.items():
        text = text.replace(written, said)
    return " ".join(text.split())


def speak_line(engine: Engine, voice: str, text: str) -> Samples:
    """The text in that voice, at RATE.

    Raises ValueError with what the engine said where it failed or wrote no sound.
    """
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "line.wav"
        options = [option.format(voice=voice, wav=wav) for option in engine.options]
        try:
            done = subprocess.run(
                [engine.program, *options], input=plain_text(text).encode(), capture_output=True, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"{engine.program} took more than {TIMEOUT_S} s for a line: try another voice") from None
        said = " ".join(done.stderr.decode(errors="replace").split()[-30:])
        if done.returncode or not wav.is_file():
            raise ValueError(f"{engine.program} failed with voice {voice}: {said or f'exit {done.returncode}'}")
        return read_wav(wav)


def read_wav(path: Path) -> Samples:
    """The first channel of a wav file of 16 bits, at RATE."""
    from scipy.signal import resample_poly

    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != 2:
            raise ValueError(f"{path.name} has {8 * file.getsampwidth()} bits a sample, expected 16")
        rate, channels = file.getframerate(), file.getnchannels()
        data = file.readframes(file.getnframes())
    samples = np.frombuffer(data, "<i2")[::channels] / 32768
    if not len(samples):
        raise ValueError(f"{path.name} holds no sound")
    return resample_poly(samples, RATE // (step := int(np.gcd(RATE, rate))), rate // step)


def speak(episode: Episode, engine: Engine, voices: Mapping[str, str]) -> Recording:
    """The episode spoken, at the loudness of podcasts."""
    told = [(i, line) for i, chapter in enumerate(episode.chapters) for line in chapter.lines]
    lines = level_speakers([(line, speak_line(engine, voices[line.speaker], line.text)) for _, line in told])
    parts, spoken, chapters, at = list[Samples](), list[Spoken](), list[tuple[float, str]](), 0
    for (chapter, line), samples in zip(told, lines, strict=True):
        is_first = len(chapters) == chapter
        pause = round(RATE * (CHAPTER_PAUSE_S if is_first else LINE_PAUSE_S)) if parts else 0
        at += pause
        if is_first:
            chapters.append((at / RATE if parts else 0.0, episode.chapters[chapter].title))
        parts += [np.zeros(pause), samples]
        spoken.append(Spoken(line, at / RATE, (at + len(samples)) / RATE))
        at += len(samples)
    return Recording(normalise_loudness(np.concatenate(parts), RATE), spoken, chapters)


def level_speakers(lines: Sequence[tuple[Line, Samples]]) -> list[Samples]:
    """The lines, every speaker as loud as the others."""
    gains = {}
    for speaker in {line.speaker for line, _ in lines}:
        said = np.concatenate([samples for line, samples in lines if line.speaker == speaker])
        loudness = integrated_loudness(said, RATE)
        gains[speaker] = 10 ** ((SPEAKER_LUFS - loudness) / 20) if np.isfinite(loudness) else 1.0
    return [samples * gains[line.speaker] for line, samples in lines]
