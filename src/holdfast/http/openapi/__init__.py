"""`/openapi.json`.

`document` puts it together from what each call takes and answers (`table`), its `parameters`, and
what is in a body (`schemas`).
"""

from holdfast.http.openapi.document import Row, document

__all__ = ["Row", "document"]
