"""Verification of finished networks on the test split.

Strong attacks on each image, and checks for gradient masking.
"""
