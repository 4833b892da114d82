"""What the server counts, in the form that Prometheus reads."""

from __future__ import annotations

from typing import Any

from gemoclap.extras import needed

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The counters of one server.

    Attributes
    ----------
    requests : by path and status.
    seconds : from the first byte of a request to the last of its answer, by path.
    in_work : requests and streams.
    batch_size : clips that went through the model together.
    audio : seconds of sound that were answered, by path.
    decoders_lost : decoders that a file has ended, or that were too slow.
    """

    def __init__(self) -> None:
        client = needed("prometheus_client", "the server", "'gemoclap[serve]'")
        self._client = client
        self.registry = client.CollectorRegistry()
        about: dict[str, Any] = {"registry": self.registry, "namespace": "gemoclap"}
        self.requests = client.Counter("requests", "Requests by path and status.", ["path", "status"], **about)
        self.seconds = client.Histogram(
            "request_seconds", "Duration of requests by path.", ["path"], buckets=SECONDS, **about
        )
        self.in_work = client.Gauge("in_work", "Requests and streams in work.", **about)
        self.batch_size = client.Histogram(
            "batch_size", "Clips that went through the model together.", buckets=(1, 2, 4, 8, 16, 32), **about
        )
        self.audio = client.Counter("audio_seconds", "Seconds of sound that were answered, by path.", ["path"], **about)
        self.decoders_lost = client.Gauge("decoders_lost", "Decoders that a file has ended.", **about)

    def text(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return self._client.generate_latest(self.registry)
