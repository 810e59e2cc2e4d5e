"""What a request may ask for; each limit is refused with a line that names it."""

MAX_BODY = 1024 * 1024  # bytes
MAX_MESSAGES = 200
MAX_CHARS = 10_000  # of one message; of a longer history the latest so many are read
MAX_TOKENS = 1024  # of a reply
DEFAULT_TOKENS = 256
MAX_TEXT = 16_384  # bytes of a reply
MAX_SECONDS = 120.0  # from the request to the last token
RETRY_AFTER_S = 5
MAX_CONNECTIONS = 512  # half the open files that a process usually may have
REQUEST_S = 20.0  # for a whole request, from when it could have begun
READ_S = 30.0  # for a client that reads nothing more of an answer
