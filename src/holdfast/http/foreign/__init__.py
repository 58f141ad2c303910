"""The routes of other APIs: how their calls are answered. How those APIs speak is in
`holdfast.dialects`."""
