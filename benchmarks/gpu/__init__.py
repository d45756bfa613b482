"""What only a card can say: `make gpu` measures it in steps, and writes one report."""
