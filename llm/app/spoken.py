"""`python -m llm podcast`: the script of an episode, spoken."""

import argparse
from pathlib import Path

from llm.app.loudness import integrated_loudness, true_peak
from llm.app.recorded import write_recording
from llm.app.script import read_script, show_time
from llm.app.speech import RATE, cast_voices, choose_engine, speak

SCRIPT = Path("metrics/podcast.md")


def run_podcast(arguments: argparse.Namespace) -> int:
    """Speak the script of the last run and print what was written; 0."""
    engine = choose_engine(arguments.engine)
    if not SCRIPT.is_file():
        raise FileNotFoundError(f"{SCRIPT} is missing: run `dvc repro` first")
    episode = read_script(SCRIPT.read_text(encoding="utf-8"))
    voices = cast_voices(episode, engine, [name for name in arguments.voice.split(",") if name])
    print(f"{engine.licence}. Voices: {', '.join(f'{who} {voice}' for who, voice in voices.items())}")
    recording = speak(episode, engine, voices)
    files = write_recording(episode, recording, arguments.out)
    loudness, peak = integrated_loudness(recording.samples, RATE), true_peak(recording.samples)
    print(f"{show_time(recording.seconds)} minutes at {loudness:.1f} LUFS, true peak {peak:.1f} dBTP")
    print("\n".join(str(path) for path in files))
    return 0
