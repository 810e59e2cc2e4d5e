"""A GPT from scratch and a fine-tuned Mistral, trained and compared on the same conversations."""

import os

# Threads of a product wait for one another. By default they spin for milliseconds, also where the awaited one has no
# processor because another program uses it: a training step of .15 s then takes 6. Here they spin some microseconds,
# then sleep. torch's OpenMP reads this once, when torch is imported: GNU's takes the second, LLVM's the third.
WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}

if not WAITING.keys() & os.environ.keys():  # the user's own choice stands
    os.environ |= WAITING
