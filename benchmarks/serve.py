"""The server under load: with and without dynamic batching, and with hostile requests mixed in.

    python benchmarks/serve.py -o runs/serve --seconds 60 --rounds 2

Two servers run on 127.0.0.1 with the same model: one gives the clips of all clients to the model together, the other one by
one (`--batch_size 1`). 1, 8 and 32 clients each send clips one after the other for so many seconds, to one server and then to
the other. Every answer is compared with that of `Predictor` for the same clip and labels. An answer is lost if it does not
come, doubled if the server counts more answers than there were requests, and wrong if a probability differs by more than 1e-5.

Then 8 clients do the same while hostile requests are sent (`benchmarks/hostile.py`). The memory is that of the server and its
decoders. The clients run on the same cores as the servers.

With `-o` each step is kept in a file of that folder, with the load of the machine, and a command that is repeated goes on where
it ended.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from hostile import HOST, PATIENCE, Hostile, all_of_them, ask, form
from rich.console import Console
from rich.table import Table

from gemoclap import Predictor
from gemoclap.corpora.manifest import read_manifest
from gemoclap.corpora.synthetic import generate
from gemoclap.writing import atomic_write

LABELS = (None, None, ("bored", "excited"))
TOLERANCE = 1e-5


@dataclass
class Job:
    """A request, and the probabilities that must come back."""

    body: bytes
    expected: dict[str, float]

    def difference(self, answer: bytes) -> float:
        """Return the largest difference of a probability; infinity for an answer with other labels."""
        found = json.loads(answer)["probabilities"]
        if found.keys() != self.expected.keys():
            return float("inf")
        return max(abs(found[label] - wanted) for label, wanted in self.expected.items())


@dataclass
class Tally:
    """What clients have met: the seconds of each answer, counts, and the largest difference of a probability."""

    seconds: list[float] = field(default_factory=list)
    sent: int = 0
    lost: int = 0
    wrong: int = 0
    refused: int = 0
    difference: float = 0.0
    took: float = 0.0
    doubled: int = 0
    load: float = 0.0


class Server:
    """A process of `gemoclap serve`."""

    def __init__(self, model: str, *options: str) -> None:
        command = [sys.executable, "-m", "gemoclap", "serve", "--model", model, "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        found = re.search(rf"http://{re.escape(HOST)}:(\d+)", self.process.stdout.readline())
        if not found:
            raise SystemExit("the server did not start; its message is above")
        self.port = int(found[1])

    def answered(self) -> int:
        """Return how many predictions the server has answered with 200."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        found = re.search(r'requests_total{path="/v1/predict",status="200"} (\S+)', text)
        return round(float(found[1])) if found else 0

    def memory(self) -> tuple[float, float, int]:
        """Return the memory of the server in MB, that of its decoders, and their number."""
        own = psutil.Process(self.process.pid)
        decoders = []
        for process in own.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # one that was just ended
                decoders.append(process.memory_info().rss / 1e6)
        return own.memory_info().rss / 1e6, sum(decoders), len(decoders)


@contextmanager
def running(model: str, *options: str) -> Iterator[Server]:
    server = Server(model, *options)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


def load(server: Server, jobs: Sequence[Job], clients: int, seconds: float) -> Tally:
    """Let clients ask one thing after the other for so many seconds, and wait for their last answers."""
    tallies = [Tally() for _ in range(clients)]
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=client, args=[server.port, jobs, until, number, tally])
        for number, tally in enumerate(tallies)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Tally(
        [one for tally in tallies for one in tally.seconds],
        *(sum(getattr(tally, name) for tally in tallies) for name in ("sent", "lost", "wrong", "refused")),
        difference=max(tally.difference for tally in tallies),
        took=time.monotonic() - began,
    )


def client(port: int, jobs: Sequence[Job], until: float, seed: int, tally: Tally) -> None:
    rng = np.random.default_rng(seed)
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    while time.monotonic() < until:
        job = jobs[rng.integers(len(jobs))]
        began = time.monotonic()
        tally.sent += 1
        try:
            status, answer = ask(connection, job.body)
        except (OSError, http.client.HTTPException):
            tally.lost += 1
            connection.close()
            continue
        tally.seconds.append(time.monotonic() - began)
        if status != 200:
            tally.refused += 1
            continue
        difference = job.difference(answer)
        tally.difference = max(tally.difference, difference)
        tally.wrong += difference > TOLERANCE
    connection.close()


def make_jobs(model: str, paths: Sequence[Path]) -> list[Job]:
    predictor = Predictor.from_pretrained(model, device="cpu")
    return [
        Job(form(path.read_bytes(), path.name, ",".join(labels or ())), predictor(path, labels).probabilities)
        for path in paths
        for labels in LABELS
    ]


class Kept:
    """Steps that are done, in a file each; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def step(self, name: str, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what a step has found, now or before."""
        path = self._folder and self._folder / f"{name}.json"
        if path and path.is_file():
            return json.loads(path.read_text())
        found = do()
        if path:
            with atomic_write(path) as file:
                json.dump(found, file)
        print(time.strftime("%H:%M:%S"), name, "done", flush=True)
        return found


def one_load(server: Server, jobs: Sequence[Job], clients: int, seconds: float) -> dict[str, Any]:
    """Return the tally of one step, as plain data."""
    before = server.answered()
    tally = load(server, jobs, clients, seconds)
    received = len(tally.seconds) - tally.refused
    tally.doubled = max(0, server.answered() - before - received - tally.lost)
    tally.load = os.getloadavg()[0]
    return asdict(tally)


def compare(servers: dict[str, Server], jobs: Sequence[Job], options: argparse.Namespace, kept: Kept) -> Table:
    table = Table(
        *(
            "clients",
            "batching",
            "requests/s",
            "of each round",
            "p50 ms",
            "p99 ms",
            "requests",
            "lost",
            "doubled",
            "wrong",
        ),
        *("refused", "difference", "load"),
        title=f"{options.seconds:g} s each, {options.rounds} round(s), alternately",
    )
    for server in servers.values():
        load(server, jobs, 4, min(5.0, options.seconds))  # the first requests are slower
    found: dict[tuple[int, str], list[Tally]] = {(clients, name): [] for clients in options.clients for name in servers}
    for number in range(options.rounds):
        for clients in options.clients:
            for name in [*servers][:: -1 if number % 2 else 1]:
                step = partial(one_load, servers[name], jobs, clients, options.seconds)
                found[clients, name].append(Tally(**kept.step(f"{clients}_{name}_{number}", step)))
    for (clients, name), tallies in found.items():
        table.add_row(str(clients), name, *_cells(tallies))
    return table


def _cells(tallies: Sequence[Tally]) -> list[str]:
    every = np.array([one for tally in tallies for one in tally.seconds]) * 1000
    return [
        f"{len(every) / sum(tally.took for tally in tallies):.1f}",
        ", ".join(f"{len(tally.seconds) / tally.took:.1f}" for tally in tallies),
        f"{np.percentile(every, 50):.0f}",
        f"{np.percentile(every, 99):.0f}",
        *(
            str(sum(getattr(tally, what) for tally in tallies))
            for what in ("sent", "lost", "doubled", "wrong", "refused")
        ),
        f"{max(tally.difference for tally in tallies):.1e}",
        ", ".join(f"{tally.load:.1f}" for tally in tallies),
    ]


@dataclass
class Row:
    """What came back for a hostile request."""

    kind: Hostile
    sent: int = 0
    right: int = 0
    slowest: float = 0.0
    others: set[str] = field(default_factory=set)


def attack(port: int, row: Row, until: float) -> None:
    while time.monotonic() < until:
        began = time.monotonic()
        row.sent += 1
        found = row.kind.send(port)
        row.slowest = max(row.slowest, time.monotonic() - began)
        if found == row.kind.expected:
            row.right += 1
        else:
            row.others.add(found)
        time.sleep(0.5)


def under_attack(server: Server, jobs: Sequence[Job], seconds: float) -> dict[str, Any]:
    """Send hostile requests while 8 clients are served; each kind is sent again as soon as it is answered."""
    load(server, jobs, 16, min(30.0, seconds))  # what the first requests allocate, and the first decoders, are no leak
    rows = [Row(kind) for kind in all_of_them()]
    memory = [server.memory()]
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=attack, args=[server.port, row, until]) for row in rows]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            memory.append(server.memory())

    watcher = threading.Thread(target=watch)
    for thread in [*threads, watcher]:
        thread.start()
    tally = load(server, jobs, 8, seconds)
    for thread in threads:
        thread.join()
    stop.set()
    watcher.join()
    return {
        "tally": asdict(tally),
        "memory": [memory[0], max(memory, key=lambda one: one[0] + one[1]), server.memory()],
        "rows": [
            [row.kind.name, row.kind.expected, row.sent, row.right, row.slowest, sorted(row.others)] for row in rows
        ],
    }


def shown(found: dict[str, Any]) -> tuple[Table, str]:
    """Return what `under_attack` has found, for people."""
    table = Table("request", "expected", "sent", "as expected", "slowest s", "other answers", title="hostile requests")
    for name, expected, sent, right, slowest, others in found["rows"]:
        table.add_row(name, expected, str(sent), str(right), f"{slowest:.1f}", ", ".join(others))
    tally, (before, most, after) = Tally(**found["tally"]), found["memory"]
    every = np.array(tally.seconds) * 1000
    said = (
        f"8 clients meanwhile: {len(every) / tally.took:.1f} requests/s, p50 {np.percentile(every, 50):.0f} ms, p99 "
        f"{np.percentile(every, 99):.0f} ms, {tally.lost} lost, {tally.wrong} wrong, {tally.refused} refused\n"
        f"memory of the server, and of its decoders: {_memory(before)} before, {_memory(most)} at most, {_memory(after)} after"
    )
    return table, said


def _memory(found: Sequence[float]) -> str:
    server, decoders, number = found
    return f"{server:.0f} MB and {decoders:.0f} MB ({number})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--manifest", help="clips to send; without it, clips of made voices")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-hostile", action="store_true", help="leave out the hostile requests")
    parser.add_argument(
        "-o", "--output", type=Path, help="folder in which each step is kept, to go on after an interruption"
    )
    options = parser.parse_args()
    console, kept = Console(width=170), Kept(options.output)
    with tempfile.TemporaryDirectory() as folder:
        manifest = options.manifest and read_manifest(options.manifest)
        rows = manifest or generate(Path(folder), speakers=4, sentences=2, takes=1)
        drawn = np.random.default_rng(0).permutation(len(rows))[: options.clips]
        jobs = make_jobs(options.model, [Path(rows[place].path) for place in drawn])
    with running(options.model) as batching, running(options.model, "--batch_size", "1") as single:
        console.print(compare({"yes": batching, "no": single}, jobs, options, kept))
    if not options.no_hostile:
        with running(options.model, "--max_seconds", "60") as server:
            table, said = shown(kept.step("hostile", partial(under_attack, server, jobs, options.seconds)))
        console.print(table)
        print(said)


if __name__ == "__main__":
    main()
