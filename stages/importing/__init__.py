"""Import what others annotated or released."""
