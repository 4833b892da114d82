"""From rows of a manifest to batches: folds (`folds`), groups of utterances (`batching`), and tensors (`dataset`)."""
