"""Rows to batches: who is tested (`folds`), who rides together (`batching`), and the tensors themselves (`dataset`)."""
