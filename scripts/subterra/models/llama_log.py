"""llama.cpp's chatter, kept off the terminal: what it says is noise until something fails."""

import contextlib
import ctypes
from collections.abc import Iterator

import llama_cpp

WARNING, CONTINUED = 3, 5


@contextlib.contextmanager
def captured_log() -> Iterator[list[str]]:
    """Collect llama.cpp's warnings and errors, a line each, and print nothing while the block runs.

    The silence lasts: afterwards llama.cpp's log goes nowhere, since its own handler prints all of it.
    """
    lines: list[str] = []

    @llama_cpp.llama_log_callback
    def keep(level: int, text: bytes, _user_data: ctypes.c_void_p) -> None:
        if level >= WARNING and level != CONTINUED:
            lines.append(text.decode("utf-8", "replace").strip())

    llama_cpp.llama_log_set(keep, None)
    try:
        yield lines
    finally:
        llama_cpp.llama_log_set(_NOTHING, None)


@llama_cpp.llama_log_callback
def _NOTHING(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
    """Swallow a line; a module-level name, because llama.cpp keeps the pointer."""
