"""Verifying finished networks on the test split: strong attacks, image by image, and signs that an attack was fooled."""
