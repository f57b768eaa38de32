"""Vocabulary, model access, confidence, releases, training. The lowest layer."""
