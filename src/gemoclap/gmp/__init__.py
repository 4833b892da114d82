"""GMP-TL: gender-augmented multi-scale pseudo-labels."""
