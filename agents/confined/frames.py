"""JSON messages over a pair of file descriptors, each with its length in front.

Knows nothing of what the messages mean. A reader never waits past its deadline and never holds
more than `MAX_FRAME_BYTES`, so that a hostile writer can neither stall it nor fill its memory.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from typing import Any

MAX_FRAME_BYTES = 32 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_CHUNK_BYTES = 65536


class FrameError(Exception):
    """The other side sent something that is not a frame, or one that is too long."""


class Channel:
    """One end of a conversation in frames.

    Args:
        read_fd: Where the other side's frames come from; blocking.
        write_fd: Where frames go.
        read_ahead: False where somebody else reads what comes after a frame.
    """

    def __init__(self, read_fd: int, write_fd: int, *, read_ahead: bool = True) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self._read_ahead = read_ahead
        self._buffer = bytearray()
        self._poll = select.poll()
        self._poll.register(read_fd, select.POLLIN)

    def send(self, message: Any) -> None:
        """Write one message.

        Raises:
            FrameError: It is longer than a frame may be.
            OSError: The other side is gone.
        """
        body = json.dumps(message, separators=(",", ":")).encode()
        if len(body) > MAX_FRAME_BYTES:
            raise FrameError(f"A message of {len(body)} bytes is too long for a frame.")
        view = memoryview(_LENGTH.pack(len(body)) + body)
        while view:
            view = view[os.write(self.write_fd, view) :]

    def receive(self, deadline: float | None = None) -> Any:
        """Read one message.

        Args:
            deadline: On the `time.monotonic` clock; None waits for ever.

        Raises:
            TimeoutError: No whole message came in time.
            EOFError: The other side closed its end.
            FrameError: What came is no frame.
        """
        try:
            return json.loads(self.receive_bytes(deadline))
        except (ValueError, RecursionError) as error:
            raise FrameError("A frame does not hold JSON.") from error

    def receive_bytes(self, deadline: float | None = None) -> bytes:
        """Read the bytes of one frame; raises as `receive` does."""
        length = _LENGTH.unpack(self._take(_LENGTH.size, deadline))[0]
        if length > MAX_FRAME_BYTES:
            raise FrameError(f"A frame of {length} bytes was announced.")
        return self._take(length, deadline)

    def forward(self, file_fd: int, num_bytes: int) -> None:
        """Send a frame of bytes from a file without reading them into this process."""
        os.write(self.write_fd, _LENGTH.pack(num_bytes))
        offset = 0
        while offset < num_bytes:
            offset += os.sendfile(self.write_fd, file_fd, offset, num_bytes - offset)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read_fd)
        if self.write_fd != self.read_fd:
            os.close(self.write_fd)

    def _take(self, num_bytes: int, deadline: float | None) -> bytes:
        while len(self._buffer) < num_bytes:
            if deadline is not None:
                self._wait(deadline)
            wanted = _CHUNK_BYTES if self._read_ahead else num_bytes - len(self._buffer)
            chunk = os.read(self.read_fd, wanted)
            if not chunk:
                raise EOFError
            self._buffer += chunk
        taken = bytes(self._buffer[:num_bytes])
        del self._buffer[:num_bytes]
        return taken

    def _wait(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not self._poll.poll(remaining * 1000):
            raise TimeoutError
