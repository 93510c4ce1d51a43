"""What the inferencers of mmdet and mmseg need to work with our models as they are."""
