"""How a zoo on disk is read: its tables, its weights, selections of its states."""
