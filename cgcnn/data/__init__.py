"""Read files as samples, and build graphs, compositions and labels from them."""
