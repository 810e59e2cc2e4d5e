"""The networks, their kernels for CPUs, and the loss: all that training needs of a model."""
