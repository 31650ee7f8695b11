"""How a zoo is trained: from checked arguments to cohorts, epochs and twins."""
