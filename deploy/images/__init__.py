"""Language images: a declarative recipe per language, its loader, and the builder that needs no registry."""
