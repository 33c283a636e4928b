"""What chemistry says of elements on sites: ions, radii, charges, tolerance, filters."""
