"""Inputs that people come with, of each kind whose first answer was untrue: what a run says of them, and answers."""
