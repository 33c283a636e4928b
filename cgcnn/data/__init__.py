"""Files to samples, samples to graphs; compositions and labels of records."""
