"""The gRPC connection to a server: channels, retries, checks of its answers, and its errors."""
