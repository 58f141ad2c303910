"""Providers: who generates.

`base` says what a provider, a format, a fold and a translator are. Each folder is one wire format:
`openai_chat`, `openai_responses`, `anthropic`, `google`, `google_interactions`; its `format` writes
the request, its `fold` reads the answer, frame by frame. `vendors` is the table of who speaks
which, `remote` the one provider around all of them, `translator` the way from bytes to frames;
`asked` and `values` are what the formats share. `failures` reads refusals and `verdicts` says what
they mean; `halves` mends cut characters. `demo` answers by itself, `playback` plays its script, and
`registry` chooses by name, pattern and kind.
"""
