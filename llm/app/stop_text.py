"""Where a reply is to stop, by texts that its tokens may spell in pieces."""


class StopText:
    """Text up to the first of some texts; what may be the beginning of one is held back."""

    def __init__(self, stops: list[str]) -> None:
        self.stops, self.held, self.found = stops, "", False

    def feed(self, text: str) -> str:
        """What can be shown of the text so far."""
        if self.found:
            return ""
        self.held += text
        ends = [at for stop in self.stops if (at := self.held.find(stop)) >= 0]
        if ends:
            self.found = True
            return self._give(min(ends))
        return self._give(len(self.held) - max(map(self._begun, self.stops), default=0))

    def rest(self) -> str:
        """What was held back, at the end."""
        return "" if self.found else self._give(len(self.held))

    def _begun(self, stop: str) -> int:
        """Characters at the end that `stop` begins with."""
        longest = min(len(stop) - 1, len(self.held))
        return next((n for n in range(longest, 0, -1) if self.held.endswith(stop[:n])), 0)

    def _give(self, n: int) -> str:
        given, self.held = self.held[:n], self.held[n:]
        return given
