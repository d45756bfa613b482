"""How many servers so many users need: by arithmetic, simulated, and held against a real one."""
