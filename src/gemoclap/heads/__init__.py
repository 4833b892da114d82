"""Plain heads on a speech encoder: baselines for every method, and the last stage of GMP-TL."""
