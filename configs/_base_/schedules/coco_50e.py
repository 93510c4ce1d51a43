"""Empty: COCO's file brings what stood here. Configs that to_panoptic.py wrote before have this file as a base."""
