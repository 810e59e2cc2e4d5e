"""Raw dialogues to a corpus: normalised, without duplicates, split, without leaks; and the questions asked."""
