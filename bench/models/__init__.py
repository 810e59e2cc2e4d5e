"""What concerns the networks: their kernels."""
