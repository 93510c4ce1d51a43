"""What mmdet's and mmseg's own inferencers need to work with our models."""
