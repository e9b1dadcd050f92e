"""What a sweep needs before anything is tuned: input that holds up, models and a scorer that are there, and their digests."""
