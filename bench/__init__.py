"""How fast this code is against what people use instead: only ratios, from alternating rounds on one machine."""

import llm  # noqa: F401  before a benchmark imports torch: it says how threads wait
