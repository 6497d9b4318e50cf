"""The pretrained encoder f: finding it, running its frozen trunk once, and its one trainable layer."""
