"""What can happen to a file."""

import json


def flip(path, position=-1):
    """One bit is another."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def newer(path):
    """The record of a checkpoint as a later version might write it."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2}))
