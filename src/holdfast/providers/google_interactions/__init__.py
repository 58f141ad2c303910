"""Google's Interactions API, which follows on streamGenerateContent.

The request: `format` writes it, `messages` the conversation as steps. The answer: `fold`
decides what a frame is, `wire` decodes it, `answer` says what is new in it, and `steps` what is
remembered of a step. Media and citations are as in `google`.
"""

from holdfast.providers.google_interactions.format import Format

__all__ = ["Format"]
