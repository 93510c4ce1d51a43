"""The training losses: set losses after matching, and terms that a config adds."""

from .contrastive import ContrastiveLoss
from .criterion import OneFormerCriterion
from .inputs import LossInputs, Targets
from .query_classification import QueryClassification

__all__ = ['ContrastiveLoss', 'LossInputs', 'OneFormerCriterion', 'QueryClassification', 'Targets']
