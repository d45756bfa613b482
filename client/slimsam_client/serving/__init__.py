"""The part of the client that models inside Triton import."""
