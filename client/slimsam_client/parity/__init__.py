"""What is served, and how near its answers are to `SamModel`'s."""
