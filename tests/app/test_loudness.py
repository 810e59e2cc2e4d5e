"""Loudness against the numbers of BS.1770 and against ffmpeg's meter."""

import math
import re
import shutil
import subprocess
import wave

import numpy as np
import pytest

from llm.app.loudness import CEILING_DBTP, TARGET_LUFS, integrated_loudness, limit_peaks, normalise_loudness, true_peak

RATE = 24_000


def tone(hertz=997, seconds=5.0, amplitude=1.0, rate=RATE):
    return amplitude * np.sin(2 * math.pi * hertz * np.arange(round(seconds * rate)) / rate)


def speech_like(seconds=20.0):
    """Noise in syllables, with a crest factor like that of speech."""
    rng = np.random.default_rng(1)
    n = round(seconds * RATE)
    loud = np.abs(np.sin(2 * math.pi * 2.3 * np.arange(n) / RATE)) ** 3
    return 0.02 * loud * rng.standard_t(4, n)


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_a_full_scale_sine_is_3_01_below_zero(rate):
    """ITU-R BS.1770-4, annex 1: 997 Hz at 0 dBFS in one channel reads -3.01 LKFS."""
    assert integrated_loudness(tone(rate=rate), rate) == pytest.approx(-3.01, abs=0.05)


def test_silence_between_words_does_not_count():
    """EBU Tech 3341 case 4 in kind: a part below the relative gate changes nothing."""
    loud = tone(amplitude=0.1)
    with_pause = np.concatenate([loud, 0.001 * tone(), loud])
    assert integrated_loudness(with_pause, RATE) == pytest.approx(integrated_loudness(loud, RATE), abs=0.15)


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.ones(10)], ids=["silence", "less than a block"])
def test_what_cannot_be_measured_is_minus_infinity(samples):
    assert integrated_loudness(samples, RATE) == -math.inf


def test_the_true_peak_lies_between_the_samples():
    """A quarter of the rate, sampled at 45 degrees: samples of 0.71 and a curve that reaches 1."""
    samples = np.sin(math.pi / 2 * np.arange(4000) + math.pi / 4)
    assert np.abs(samples).max() == pytest.approx(math.sqrt(0.5))
    assert true_peak(samples[1000:3000] * np.hanning(2000)) == pytest.approx(0, abs=0.2)


def test_the_limiter_leaves_no_peak_above_the_ceiling_and_what_is_quiet_alone():
    samples = np.concatenate([0.1 * tone(seconds=1), tone(seconds=1), 0.1 * tone(seconds=1)])
    found = limit_peaks(samples, RATE, -6.0)
    assert true_peak(found) <= -5.9
    assert np.array_equal(found[: RATE // 2], samples[: RATE // 2])


def test_speech_comes_out_at_the_target_without_clipping():
    found = normalise_loudness(speech_like(), RATE)
    assert integrated_loudness(found, RATE) == pytest.approx(TARGET_LUFS, abs=0.2)
    assert true_peak(found) <= CEILING_DBTP


def test_silence_stays_silence():
    assert not normalise_loudness(np.zeros(RATE), RATE).any()


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg, whose meter this is held against, is not installed")
@pytest.mark.parametrize("gain", [1.0, 5.0])
def test_ffmpeg_measures_the_same(tmp_path, gain):
    samples = np.clip(gain * speech_like(), -1, 1)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    words = ["ffmpeg", "-nostats", "-i", str(tmp_path / "a.wav"), "-af", "ebur128=peak=true", "-f", "null", "-"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stderr
    loudness = float(re.findall(r"I:\s+(-[\d.]+) LUFS", said)[-1])
    peak = float(re.findall(r"Peak:\s+(-?[\d.]+) dBFS", said)[-1])
    assert integrated_loudness(samples, RATE) == pytest.approx(loudness, abs=0.15)
    assert true_peak(samples) == pytest.approx(peak, abs=0.3)
