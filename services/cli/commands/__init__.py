"""The commands, a module for each family; `services.cli.__main__` has the table of them."""
