"""Networks: layers of tiles, and the small stages between them."""
