"""The three ways in which a request can end without an answer."""


class TransportError(Exception):
    """No answer came. `str()` is a short cause, fit for an operator and for a line's error message."""


class UpstreamAway(TransportError):
    """The upstream is not there (refused, unknown host, TLS refused, no connection in time): nothing was sent."""


class NoAnswer(TransportError):
    """The request was sent and the read timeout passed without a whole answer."""


class BrokenAnswer(TransportError):
    """The connection broke, or what came back was not HTTP: the upstream may have done the work all the same."""
