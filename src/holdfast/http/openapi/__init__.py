"""`/openapi.json`.

`document` puts it together from what each call takes and answers (`calls`), its `parameters`, and
what is in a body (`schemas`).
"""

from holdfast.http.openapi.document import document

__all__ = ["document"]
