"""How a zoo is kept on disk: its record, its snapshots, which epochs stay."""
