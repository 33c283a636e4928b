"""What can be screened: enumerated spaces, lists, structures."""
