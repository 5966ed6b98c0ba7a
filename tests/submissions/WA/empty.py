# Nothing read, nothing said.
