"""The main chain's rules: who leads, what commits, in which order. Pure: no clock, no chance, no loop."""
