"""From a file to decoded frames: the container, its tracks and tags, damage, and what the bitstream tells."""
