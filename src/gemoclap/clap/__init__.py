"""The GEmo-CLAP family: Emo-CLAP, SL-GEmo-CLAP, ML-GEmo-CLAP (Pan et al., arXiv 2306.07848)."""
