"""Every parser that meets foreign bytes, by the name that `python -m tests.fuzz` knows it by."""

from tests.fuzz.models import MODELS
from tests.fuzz.texts import TEXTS
from tests.fuzz.web import WEB

HARNESSES = TEXTS | MODELS | WEB
