"""One reader for each data set: a folder in, `Tracklets` out."""
