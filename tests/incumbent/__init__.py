"""Small equivalents of incumbent containers that golden vectors describe and the product does not use."""
