"""The files of a spoken episode: sound, transcript and subtitles with the times of what is heard, chapters."""

import io
import logging
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np

from llm.app.script import Episode, show_time
from llm.app.speech import RATE, Recording
from llm.files import write_bytes, write_json

NAME = "episode"
MP3 = ("-codec:a", "libmp3lame", "-b:a", "96k")

logger = logging.getLogger(__name__)


def wav_bytes(recording: Recording) -> bytes:
    """The recording as a wav file: 16 bits, one channel."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(np.clip(recording.samples, -1, 1) * 32767).astype("<i2").tobytes())
    return out.getvalue()


def vtt_time(seconds: float) -> str:
    """A time of a WebVTT file.

    >>> vtt_time(3675.25)
    '01:01:15.250'
    """
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def subtitles(recording: Recording) -> str:
    """The lines as WebVTT, a cue each."""
    cues = []
    for one in recording.spoken:
        text = one.line.text.replace("&", "&amp;").replace("<", "&lt;").replace("-->", "->")
        cues.append(f"{vtt_time(one.start)} --> {vtt_time(one.end)}\n<v {one.line.speaker}>{text}\n")
    return "WEBVTT\n\n" + "\n".join(cues)


def transcript(episode: Episode, recording: Recording) -> str:
    """The lines as a page, each with the time at which it is heard."""
    parts = [f"# {episode.title}", f"{show_time(recording.seconds)} minutes."]
    starts = dict(recording.chapters)
    for one in recording.spoken:
        if one.start in starts:
            parts.append(f"## {starts[one.start]}")
        parts.append(f"[{show_time(one.start)}] **{one.line.speaker}:** {one.line.text}")
    return "\n\n".join(parts) + "\n"


def chapter_list(recording: Recording) -> dict[str, object]:
    """The chapters in the form of podcast:chapters, version 1.2.0."""
    chapters = [{"startTime": round(start, 2), "title": title} for start, title in recording.chapters]
    return {"version": "1.2.0", "chapters": chapters}


def write_recording(episode: Episode, recording: Recording, folder: Path) -> list[Path]:
    """Write the files into the folder, an mp3 too where ffmpeg is; their paths."""
    files = {
        folder / f"{NAME}.wav": wav_bytes(recording),
        folder / f"{NAME}.vtt": subtitles(recording).encode(),
        folder / "transcript.md": transcript(episode, recording).encode(),
    }
    for path, content in files.items():
        write_bytes(path, content)
    write_json(folder / "chapters.json", chapter_list(recording))
    return [*files, folder / "chapters.json", *write_mp3(folder / f"{NAME}.wav", episode.title)]


def write_mp3(wav: Path, title: str) -> list[Path]:
    """Write an mp3 beside the wav; nothing, with a word in the log, where ffmpeg is missing or fails."""
    mp3, program = wav.with_suffix(".mp3"), shutil.which("ffmpeg")
    if not program:
        logger.warning("no %s: ffmpeg is not installed", mp3.name)
        return []
    words = [program, "-y", "-loglevel", "error", "-i", str(wav), *MP3, "-metadata", f"title={title}", str(mp3)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        logger.warning("no %s: ffmpeg said %s", mp3.name, " ".join(done.stderr.split())[:200])
        return []
    return [mp3]
