"""Dialects: how a stream is spoken to a client. One file each; `base` says what one is."""
