"""What callers use, and how much of it they may.

`windows` sum what was used lately, an `account` holds one key, user or tenant to its quota,
`ledger` has all accounts and shares their sums with other nodes by the counters beside the log. A
`meter` counts one stream by `prices` and estimates. `fair` shares a crowded node among tenants.
"""
