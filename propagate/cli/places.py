"""How commands name what failed."""


def failed_place(clip: str, offset: int) -> str:
    """A clip, and from which offset on it is missing."""
    return f"{clip}, from offset {offset:+d} on" if offset else clip
