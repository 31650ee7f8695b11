"""Machines that make one zoo together, by engines that exist: JAX's own clusters, SLURM, Ray."""
