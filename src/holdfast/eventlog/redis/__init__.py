"""The Redis engine: one log for many nodes, on Redis 7 or Valkey.

`engine` has the contract's verbs. `link` is a connection, `lines` knows which server a key is on,
`scripts` run inside Redis, `blocks` are the bytes of a batch, `tails` spare reading back what this
node wrote, `hints` come from other nodes, `lease` is this node's life, `index` finds streams.
"""
