"""From the logits of one image to its three predictions (reference code, inference; paper §3.4).

Every function takes one image: ``class_logits`` (N, K+1), whose last class is 'no object', and ``mask_logits``
(N, h, w) at stride 4 of the padded input. The reference code first resizes all N masks to the original size; for 250
queries and a 12-megapixel photo that is 12 GB. Here the same predictions are computed on small tiles of the image:

* semantic: only where two classes can have the largest score, and for those that can;
* instance: the best things are chosen first, then each *query* among them is resized once, where it can have pixels;
  masks of large photos are kept as run-length codes, made of these tiles;
* panoptic: only queries above the score threshold, where they can win or have pixels of their own.

The plain form is in the tests, which compare the two.
"""

from ..mask_resize import ImageSize, resize_masks
from .instance import instances, tight_boxes
from .panoptic import panoptic_segments
from .post_processor import PostProcessor, complete_test_cfg, semantic_prediction
from .semantic import semantic_map, semantic_scores

__all__ = [
    'ImageSize',
    'PostProcessor',
    'complete_test_cfg',
    'instances',
    'panoptic_segments',
    'resize_masks',
    'semantic_map',
    'semantic_prediction',
    'semantic_scores',
    'tight_boxes',
]
