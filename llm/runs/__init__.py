"""Finished runs: their files, read back and compared. The only room that knows DVC and a run's folders."""
