"""Sealing: the form in which Holdfast's own bytes lie in a store.

`codec` wraps and unwraps them; compression and encryption become further codecs there.
"""
