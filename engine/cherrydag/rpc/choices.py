"""Headers in which a client says what it takes, as Accept and Accept-Encoding."""

import re


def accepts(header: str, wanted: str) -> bool:
    """Whether a header of choices names this one, and not with a weight of 0."""
    for part in header.split(","):
        name, *parameters = [text.strip().lower() for text in part.split(";")]
        if name == wanted:
            return not any(re.fullmatch(r"q=0(\.0*)?", text) for text in parameters)
    return False
