"""Speaking, with an engine that is a real program writing real sound, and with those that are installed."""

import json
import os
import re
import shutil
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from llm.__main__ import main
from llm.app.loudness import integrated_loudness, true_peak
from llm.app.recorded import subtitles, wav_bytes
from llm.app.script import Chapter, Episode, Line, script_markdown
from llm.app.speech import ENGINES, RATE, cast_voices, choose_engine, read_wav, speak

EPISODE = Episode(
    "A & B",
    [
        Chapter("First", [Line("Host", "Hello there, my friends."), Line("Pip", "It is a little bit of a car …")]),
        Chapter("Second", [Line("Oak", "The sky is blue <b>because</b> of light."), Line("Host", "Good night.")]),
    ],
)
STAND_IN = """\
#!{python}
import math, pathlib, struct, sys, wave

words = sys.argv
voice, out = words[words.index("-voice") + 1], words[words.index("-o") + 1]
text = sys.stdin.read()
if voice == "broken":
    sys.exit("no such voice: broken")
(pathlib.Path({heard!r})).open("a").write(f"{{voice}}|{{text}}\\n")
loudness = {{"slt": 0.5, "awb": 0.05, "rms": 0.2}}[voice]
n = 1600 * max(4, len(text) // 2)
tone = [round(32767 * loudness * math.sin(i * (0.2 + 0.05 * len(voice)))) for i in range(n)]
with wave.open(out, "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(16000)
    file.writeframes(struct.pack(f"<{{n}}h", *tone))
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A program called flite that hums as long as its text is; the file of what it was asked to say."""
    heard = tmp_path / "heard.txt"
    program = tmp_path / "bin/flite"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable, heard=str(heard)), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return heard


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the script of an episode."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "params.yaml").touch()
    (tmp_path / "metrics/podcast.md").write_text(script_markdown(EPISODE), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_line_is_spoken_in_its_speakers_voice(stand_in):
    engine = choose_engine("flite")
    speak(EPISODE, engine, cast_voices(EPISODE, engine, []))
    assert stand_in.read_text(encoding="utf-8").splitlines() == [
        "slt|Hello there, my friends.",
        "awb|It is a little bit of a car .",
        "rms|The sky is blue <b>because</b> of light.",
        "slt|Good night.",
    ]


def test_the_times_are_those_of_the_sound(stand_in):
    engine = choose_engine("flite")
    recording = speak(EPISODE, engine, cast_voices(EPISODE, engine, []))
    quiet = np.abs(recording.samples) < 1e-4
    for before, after in zip(recording.spoken, recording.spoken[1:], strict=False):
        gap = quiet[round(before.end * RATE) + 300 : round(after.start * RATE) - 300]
        assert gap.all() and len(gap)
    assert recording.chapters[1][0] == recording.spoken[2].start
    assert recording.spoken[-1].end == pytest.approx(recording.seconds)


def test_every_voice_is_as_loud_as_the_others_and_the_whole_as_podcasts_are(stand_in):
    engine = choose_engine("flite")
    recording = speak(EPISODE, engine, cast_voices(EPISODE, engine, []))
    found = [integrated_loudness(recording.samples[round(one.start * RATE) : round(one.end * RATE)], RATE)
             for one in recording.spoken]  # fmt: skip
    assert max(found) - min(found) < 1.0  # the engine's own voices are 20 dB apart
    assert integrated_loudness(recording.samples, RATE) == pytest.approx(-16, abs=0.2)
    assert true_peak(recording.samples) <= -1


def test_one_voice_serves_all_where_one_is_named():
    assert cast_voices(EPISODE, ENGINES["flite"], ["kal"]) == {"Host": "kal", "Pip": "kal", "Oak": "kal"}


def test_an_engine_without_voices_asks_for_some():
    with pytest.raises(ValueError, match="name some with --voice"):
        cast_voices(EPISODE, ENGINES["piper"], [])


def test_subtitles_hold_no_markup_of_the_text():
    from llm.app.speech import Recording, Spoken

    recording = Recording(np.zeros(RATE), [Spoken(Line("Oak", "a <b> & c"), 0.5, 1.0)], [(0.0, "First")])
    assert subtitles(recording) == "WEBVTT\n\n00:00:00.500 --> 00:00:01.000\n<v Oak>a &lt;b> &amp; c\n"
    assert len(wav_bytes(recording)) == 44 + 2 * RATE


def test_the_command_writes_sound_transcript_subtitles_and_chapters(stand_in, project, capsys):
    assert main(["podcast", "--engine", "flite", "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert "flite: BSD-like" in said and re.search(r"at -1[56]\.\d LUFS, true peak -[\d.]+ dBTP", said)
    chapters = json.loads((project / "out/chapters.json").read_text(encoding="utf-8"))["chapters"]
    assert [one["title"] for one in chapters] == ["First", "Second"]
    page = (project / "out/transcript.md").read_text(encoding="utf-8")
    assert "# A & B" in page and "## Second" in page and "[0:00] **Host:** Hello there" in page
    assert (project / "out/episode.vtt").read_text(encoding="utf-8").count(" --> ") == 4
    with wave.open(str(project / "out/episode.wav"), "rb") as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
    assert not (project / "out/episode.mp3").exists()  # there is no ffmpeg on this PATH


def test_what_an_engine_says_of_its_failure_is_told(stand_in, project, capsys):
    assert main(["podcast", "--engine", "flite", "--voice", "broken"]) == 1
    assert capsys.readouterr().err == "flite failed with voice broken: no such voice: broken\n"
    assert not (project / "podcast").exists()


@pytest.mark.parametrize(
    ("options", "named"), [([], "flite (apt-get install flite) or espeak-ng"), (["--engine", "piper"], "piper")]
)
def test_without_an_engine_one_line_says_what_to_install(project, monkeypatch, capsys, options, named):
    monkeypatch.setenv("PATH", str(project))
    assert main(["podcast", *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"no speech engine is installed: install {named}")


def test_without_a_script_one_line_says_what_to_run(stand_in, project, capsys):
    (project / "metrics/podcast.md").unlink()
    assert main(["podcast", "--engine", "flite"]) == 1
    assert capsys.readouterr().err == "metrics/podcast.md is missing: run `dvc repro` first\n"


def test_eight_bits_are_refused(tmp_path):
    path = Path(tmp_path / "a.wav")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(100))
    with pytest.raises(ValueError, match="has 8 bits a sample, expected 16"):
        read_wav(path)


@pytest.mark.parametrize("name", ["flite", "espeak-ng"])
def test_an_engine_that_is_installed_speaks(name):
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed here")
    engine = choose_engine(name)
    recording = speak(EPISODE, engine, cast_voices(EPISODE, engine, []))
    assert 4 < recording.seconds < 20
    assert integrated_loudness(recording.samples, RATE) == pytest.approx(-16, abs=0.3)
    assert true_peak(recording.samples) <= -1


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed here")
def test_an_mp3_comes_where_ffmpeg_is(stand_in, project, monkeypatch):
    folder = Path(shutil.which("ffmpeg", path=os.defpath) or "/usr/bin/ffmpeg").parent
    monkeypatch.setenv("PATH", f"{stand_in.parent / 'bin'}{os.pathsep}{folder}")
    assert main(["podcast", "--engine", "flite", "--out", "out"]) == 0
    assert (project / "out/episode.mp3").stat().st_size > 1000
