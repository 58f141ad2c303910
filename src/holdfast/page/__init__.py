"""The page of the demo: a few files in `static/`, and the routes that serve them."""
