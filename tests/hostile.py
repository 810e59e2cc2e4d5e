"""Texts that do harm where they are not shown as text, and what must be left of none of them."""

import re

HOSTILE = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "link": "[all is well](https://evil.example) ![x](https://evil.example/x.png) <https://evil.example>",
    "table": "a | b\n\n# heading\n| --- |\n```\n**bold** `code` ~~struck~~ $x$",
    "clears the screen": "\x1b[2J\x1b[H\x1b]0;title\x07",
    "hidden link (OSC 8)": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "clipboard (OSC 52)": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "8-bit escapes": "\x9b31mred\x9d0;title\x9c",
    "written over": "harmless\rharmful\x08\x08",
    "right to left": "\u202egnp.exe\u202c \u2066x\u2069 \u200f",
    "half a character": "\ud83d and \udc00",
    "NUL": "before\x00behind",
    "emoji": "👨‍👩‍👧 🏳️‍🌈 é",
    "formula": '=HYPERLINK("https://evil.example","click")',
    "end of the table": "<!-- /results -->",
    "long": "word " * 20_000,
    "empty": "",
}
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def steering(text: str) -> list[str]:
    """What of the text steers a terminal or turns its writing, or cannot be written."""
    return STEERING.findall(text)
