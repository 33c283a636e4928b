"""The mathematics of the network: its settings, the reference in torch, and the kernels that predict."""
