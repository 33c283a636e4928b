"""From blocks of candidates to committed rows."""
