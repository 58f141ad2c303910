"""The bench: what one answer waits, and what a thousand cost, beside nginx. See README.md."""
