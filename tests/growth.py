"""How the time of a function grows with its input, for the few tests that a clock has to decide."""

import time

LEAST_S = 0.02  # below it the clock and the machine's other work decide
REPEATS = 5


def cpu_s(function, argument):
    """Seconds of processor time of one call."""
    started = time.process_time()
    function(argument)
    return time.process_time() - started


def growth(function, make, n=64):
    """Time of the function on `make(4n)` over that on `make(n)`: 4 where it is linear, 16 where it is quadratic.

    Each is the least of five; n is doubled until one call takes 20 ms.
    """
    while cpu_s(function, make(n)) < LEAST_S:
        n *= 2
    few, many = make(n), make(4 * n)
    return min(cpu_s(function, many) for _ in range(REPEATS)) / min(cpu_s(function, few) for _ in range(REPEATS))
