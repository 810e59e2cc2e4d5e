"""Files from elsewhere: fetched whole or not at all, kept, and unpacked without trust."""
