"""The one exception that ends the dev stack with a sentence instead of a traceback."""


class DevstackError(Exception):
    """Something the user can put right; the message says what and how."""
