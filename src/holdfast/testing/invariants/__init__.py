"""What `checker` is made of: a history sorted, and the rules that it is held to."""
