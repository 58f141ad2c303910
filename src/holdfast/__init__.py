"""Streams of LLM answers that do not break."""
