"""Trained models at work on recordings."""
