"""Files of others read within bounds; those of a run written whole or not at all, with nothing left."""
