"""Files are written whole or not at all."""

import os
import threading
from contextlib import suppress


def replace_file(path: str, data: bytes) -> None:
    """Write a file beside the one of that name, flush it to the disk, and give it the name.

    Whatever happens meanwhile, the name stands for the old file or for the new one.

    Raises
    ------
    OSError
        If it cannot be written. The old file is as it was.
    ValueError
        If there is something else of that name, such as a folder.
    """
    target = os.path.realpath(path)  # a link stays one
    if os.path.exists(target) and not os.path.isfile(target):
        raise ValueError(f"path: expected the name of a file, got {path!r}, which is none")
    folder, name = os.path.split(target)
    own = f".{name[:100]}.{os.getpid()}.{threading.get_ident()}.tmp"
    beside = os.path.join(folder, own)
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
