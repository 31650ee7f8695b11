"""What a model computes: the Flax module of one, and the engines that compute many."""
