"""Example problems and programs: what `assize demo` judges, and what a reader can try."""
