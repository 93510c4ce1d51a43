"""From a photo and its PNG to a sample: load ids, resize, crop, flip, draw a task, targets, texts, pack."""
