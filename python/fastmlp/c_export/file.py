"""Text files that are there whole, or not at all."""

import os
import secrets


def replace_text(path: str, text: str) -> None:
    """Write a file beside, flush it and rename it; a failure leaves an older one as it was."""
    path = os.path.realpath(path)  # a link stays one
    beside = f"{path}.{secrets.token_hex(4)}"
    try:
        with open(beside, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.remove(beside)
        raise
