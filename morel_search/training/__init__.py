"""Training and evaluating one network with MOREL; requires only torch, torchvision and numpy."""
