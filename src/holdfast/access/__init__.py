"""Who may ask and who may read.

`principal` is who somebody is and what they may do, `gate` finds that out from what a request
brings: an API key (`keys`), a JSON Web Token (`tokens`, by the `public_keys` that `jwks` fetches),
a signed URL (`signing`), or whatever the embedder's own hook knows. `ids` makes stream ids that
tell whose they are to who knows the secret.
"""
