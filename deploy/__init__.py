"""How Assize is put on machines: language images, the one-machine stack, and what larger installations start from."""
