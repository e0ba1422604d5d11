"""Show a finished run in a browser, and answer requests with it."""
