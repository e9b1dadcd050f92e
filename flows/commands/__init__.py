"""One file a word of the `palms` command: its options, what it does, what it prints."""
