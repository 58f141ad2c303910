"""Alerts: what is watched, when it is told, by which of all nodes, and to whom.

`rules` is the data, `state` when a rule fires and clears, `sight` what is looked at, `replica`
which node decides for all, `webhook` who is told, `rounds` the one task that runs it all, and
`prometheus` the same rules as a file.
"""
