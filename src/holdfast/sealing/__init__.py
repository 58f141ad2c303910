"""Sealing: the form in which Holdfast's own bytes lie in a store.

`codec` packs and unpacks them, plain or under a stream's data key, and `compressing` makes them
smaller; `ring` has the keys that data keys are wrapped with, `sealer` is what a store seals by, and
`stores` what it does about keys beside that.
"""
