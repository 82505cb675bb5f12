"""libnftables by ctypes: nft's own parser and printer inside this process. Used by kernel/nft/real only.

A context's netlink socket belongs to the namespace of the thread that makes it, and some releases open another one
while they work; so a context for another namespace is made and used by `kernel.netns.run_in` alone.
"""

import ctypes
import errno
import os
import threading

from clew.base.errors import UserError
from clew.kernel.errors import KernelError

STATELESS, NUMERIC_PRIORITY, TERSE = 1 << 2, 1 << 8, 1 << 11

_lock = threading.Lock()  # the library keeps tables of its own in static variables


class Library:
    """The functions used here, with their types."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL("libnftables.so.1")
        except OSError as missing:
            raise UserError("libnftables.so.1 is not on this machine", "install the package nftables") from missing
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).argtypes = [ctypes.c_void_p]
            getattr(library, name).restype = ctypes.c_char_p
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_run_cmd_from_filename.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self.functions = library


_library: list[Library] = []


class Context:
    """One nft context; `run` returns (succeeded, output, complaint), and raises KernelError once it is closed."""

    def __init__(self) -> None:
        with _lock:
            if not _library:
                _library.append(Library())
            self._functions = _library[0].functions
            self._context: int | None = self._functions.nft_ctx_new(0)
            if not self._context:
                raise MemoryError("nft_ctx_new")
            self._functions.nft_ctx_buffer_output(self._context)
            self._functions.nft_ctx_buffer_error(self._context)
            self._functions.nft_ctx_output_set_flags(self._context, STATELESS | NUMERIC_PRIORITY | TERSE)

    def run(self, script: str) -> tuple[bool, str, str]:
        """A file in memory rather than a buffer: only of a file does the library say which line it dislikes."""
        file = os.memfd_create("nft-script")
        try:
            with open(file, "wb", closefd=False) as writer:
                writer.write(script.encode())
            return self._run(f"/proc/self/fd/{file}")
        finally:
            os.close(file)

    def _run(self, path: str) -> tuple[bool, str, str]:
        with _lock:
            if self._context is None:  # a thread may outlive who closed it, and the library follows a null pointer
                raise KernelError(errno.EBADF, "run an nft script", detail="the context is closed")
            failed = self._functions.nft_run_cmd_from_filename(self._context, path.encode())
            output: bytes = self._functions.nft_ctx_get_output_buffer(self._context)
            complaint: bytes = self._functions.nft_ctx_get_error_buffer(self._context)
        return not failed, output.decode(), complaint.decode(errors="replace")

    def close(self) -> None:
        with _lock:
            if self._context is not None:
                self._functions.nft_ctx_free(self._context)
                self._context = None
