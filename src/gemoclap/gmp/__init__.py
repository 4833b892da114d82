"""GMP-TL: gender-augmented multi-scale pseudo-labels, and the plain heads that it and its baselines are trained with."""
