"""Plain heads on a speech encoder: the baselines of every method, and what GMP-TL is fine-tuned with."""
