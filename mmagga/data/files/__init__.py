"""Frames on disk: decoding, the index of verified frames, and packs."""
