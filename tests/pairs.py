"""Two processes of one distributed run, for tests."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def be_one_of_two(rank: int, port: int) -> None:
    """Set the environment of one of two processes, as torchrun does."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def started_pair(target: Callable[[int, int, Path], None], folder: Path) -> list[Any]:
    """Start ``target(rank, port, folder)`` in two new processes."""
    port, context = free_port(), multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=(rank, port, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    return processes
