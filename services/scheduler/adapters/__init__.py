"""What performs: the Faust application, a cell's transactional log, and the keys it trusts."""
