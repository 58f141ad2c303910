"""Providers: who generates.

`base` says what a provider is; `openai_chat` and `demo` are kinds, `compatible` holds rows of
data for vendors that speak the OpenAI chat format, `playback` plays scripted bytes, and
`registry` chooses by name, pattern and kind.
"""
