"""Training and evaluating one network with MOREL; needs torch, torchvision and numpy alone."""
