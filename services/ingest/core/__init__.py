"""What is admitted and what is refused, as pure functions of a request, of what is known, and of the time."""
