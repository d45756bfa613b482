"""More users than a server can answer, and who of them is answered in time."""
