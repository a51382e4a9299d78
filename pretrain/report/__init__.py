"""How conclusions are shown: figures, a page, the terminal, LaTeX."""
