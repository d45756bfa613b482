"""The memory of client and server, request by request."""
