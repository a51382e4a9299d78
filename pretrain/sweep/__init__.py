"""How many trials run: planning, packing, running and storing. All input and output of a sweep is here."""
