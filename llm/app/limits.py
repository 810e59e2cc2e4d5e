"""What a request may ask for; each limit is refused with a line that names it."""

MAX_BODY = 1024 * 1024  # bytes
MAX_MESSAGES = 200
MAX_CHARS = 10_000  # of one message; of a longer history the latest so many are read
MAX_TOKENS = 1024  # of a reply
DEFAULT_TOKENS = 256
MAX_TEXT = 16_384  # bytes of a reply
MAX_SECONDS = 120.0  # from the request to the last token
RETRY_AFTER_S = 5
