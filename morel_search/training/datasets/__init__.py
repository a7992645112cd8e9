"""Images: CIFAR, digits, image folders and Parquet files, and their splits."""
