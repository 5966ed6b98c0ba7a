# Reads everything and says nothing.
input()
