"""What several tests share: small models, hub folders, published files, processes of a training."""
