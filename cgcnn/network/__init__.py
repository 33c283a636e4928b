"""The mathematics of the network: its settings, the reference in torch, and kernels that predict."""
