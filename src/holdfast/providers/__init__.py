"""Providers: who generates.

`base` says what a provider is; `openai_chat` is a wire format, `compatible` holds rows of data
for vendors that speak it, `demo` answers by itself. `failures` reads refusals and `verdicts`
says what they mean, whatever the format; `halves` mends cut characters; `playback` plays
scripted bytes, and `registry` chooses by name, pattern and kind.
"""
