"""Loudness of speech (ITU-R BS.1770-4), its true peak, and bringing both to what podcasts are published at."""

import math

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]  # one channel, -1 to 1

TARGET_LUFS, CEILING_DBTP = -16.0, -1.0  # what podcast platforms ask for
HEADROOM_DB = 0.1  # the limiter stays below the ceiling: rounding to 16 bits must not cross it
BLOCK_S, STEP_S = 0.4, 0.1  # BS.1770-4: blocks of 400 ms that overlap by three quarters
SILENT_LUFS, RELATIVE_LU = -70.0, -10.0  # its two gates
OVERSAMPLING = 4  # for the true peak, its annex 2
LIMIT_S = 0.005  # over which the limiter turns down before a peak, and up after it
ROUNDS = 6  # of turning up and limiting


def k_weighted(samples: Samples, rate: int) -> Samples:
    """The samples as the ear weighs them: BS.1770's two filters, for any rate.

    Its table is for 48 kHz; the analogue filters behind it are those of Mansbridge, Finn and Reiss 2012.
    """
    from scipy.signal import lfilter

    for b, a in (_high_shelf(rate), _high_pass(rate)):
        samples = lfilter(b, a, samples)
    return samples


def _high_shelf(rate: int) -> tuple[list[float], list[float]]:
    """The filter for the head: about 4 dB more above 1.7 kHz."""
    gain, q, k = 3.999843853973347, 0.7071752369554196, math.tan(math.pi * 1681.974450955533 / rate)
    high = 10 ** (gain / 20)
    low = high**0.4996667741545416
    norm = 1 + k / q + k * k
    b = [(high + low * k / q + k * k) / norm, 2 * (k * k - high) / norm, (high - low * k / q + k * k) / norm]
    return b, [1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]


def _high_pass(rate: int) -> tuple[list[float], list[float]]:
    """The filter for the ear's deafness to deep tones."""
    q, k = 0.5003270373238773, math.tan(math.pi * 38.13547087602444 / rate)
    norm = 1 + k / q + k * k
    return [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]


def integrated_loudness(samples: Samples, rate: int) -> float:
    """Loudness in LUFS, gated; minus infinity for silence and for less than a block."""
    block, step = round(BLOCK_S * rate), round(STEP_S * rate)
    if len(samples) < block:
        return -math.inf
    power = np.concatenate([[0.0], np.cumsum(k_weighted(samples, rate) ** 2)])
    starts = np.arange(0, len(samples) - block + 1, step)
    mean = (power[starts + block] - power[starts]) / block
    for gate in (SILENT_LUFS, None):
        limit = gate if gate is not None else _lufs(float(mean.mean())) + RELATIVE_LU
        mean = mean[mean > 10 ** ((limit + 0.691) / 10)]
        if not len(mean):
            return -math.inf
    return _lufs(float(mean.mean()))


def _lufs(power: float) -> float:
    return -0.691 + 10 * math.log10(power)


def true_peak(samples: Samples) -> float:
    """The highest point of the curve through the samples, in dBTP."""
    highest = float(_peaks(samples).max(initial=0))
    return 20 * math.log10(highest) if highest else -math.inf


def _peaks(samples: Samples) -> Samples:
    """The highest point of the curve around each sample."""
    from scipy.signal import resample_poly

    fine = np.abs(resample_poly(samples, OVERSAMPLING, 1)).reshape(-1, OVERSAMPLING).max(axis=1)
    return np.maximum(np.maximum(fine, np.roll(fine, 1)), np.abs(samples))  # between two samples it belongs to both


def limit_peaks(samples: Samples, rate: int, ceiling_db: float) -> Samples:
    """The samples, turned down smoothly around each peak that is above the ceiling.

    The gain at a sample is a mean of minima that all reach over it, so it is never above what the sample needs.
    """
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    width = 2 * round(LIMIT_S * rate) + 1
    needed = np.minimum(1.0, 10 ** (ceiling_db / 20) / np.maximum(_peaks(samples), 1e-9))
    return samples * uniform_filter1d(minimum_filter1d(needed, width, mode="nearest"), width, mode="nearest")


def normalise_loudness(samples: Samples, rate: int) -> Samples:
    """The samples at TARGET_LUFS with no true peak above CEILING_DBTP; silence as it is."""
    found = samples
    gain_db = 0.0
    for _ in range(ROUNDS):
        loudness = integrated_loudness(found, rate)
        if math.isinf(loudness) or (abs(loudness - TARGET_LUFS) < 0.05 and true_peak(found) <= CEILING_DBTP):
            break
        gain_db += TARGET_LUFS - loudness  # what the limiter took away is made up for
        found = limit_peaks(samples * 10 ** (gain_db / 20), rate, CEILING_DBTP - HEADROOM_DB)
    return found
