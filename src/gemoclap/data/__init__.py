"""From rows to batches: folds (`folds`), grouping utterances into batches (`batching`), and tensors (`dataset`)."""
