"""Whole experiments, each readable from top to bottom."""
