"""Other relays beside Holdfast: each by its own package, as its documentation starts it."""
