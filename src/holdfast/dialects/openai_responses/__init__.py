"""The dialect of OpenAI Responses, whose clients can resume.

`asking` reads a body, `inputs` and `tools` what it says to the model. `fold` turns events into
frames: `items` are the items of the output, `runs` the texts that go on in them, `frames` how a
frame is written. `response` is the object that the first frames, the last ones and `whole` tell.
"""

from holdfast.dialects.openai_responses.dialect import Dialect

__all__ = ["Dialect"]
