"""The operators' dashboard: a few files in `static/`, and the routes that serve them."""
