"""The model behind HTTP and WebSocket: what `gemoclap serve` runs."""
