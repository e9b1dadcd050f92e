"""What can go wrong with a server; apart from the servers, so that a command can name it without importing them."""


class ServerFailed(RuntimeError):
    """A server that did not come up, or not any more; the message names its log."""


class ServerGone(ServerFailed):
    """A server that was there and ended while it was needed."""
