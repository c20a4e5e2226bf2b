"""What a run did, as one self-contained page to look at."""
