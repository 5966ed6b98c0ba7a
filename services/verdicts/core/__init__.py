"""What a record means: acceptance, the fold into rows, and the shapes that readers get. No input or output here."""
