"""What the weights and predictions of a zoo show: features, distances, agreement, probes."""
