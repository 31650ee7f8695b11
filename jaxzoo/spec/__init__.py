"""What a zoo is: its spec, the layers of its networks, the files it is written down in, the plan of its members."""
