"""What others' code loads: zoos are written in its layouts, and read from them."""
