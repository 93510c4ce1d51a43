"""Metrics of the three answers, the token matrix, and the file of results."""

from .instance_ap import InstanceAP
from .panoptic_quality import PanopticQuality, PQStatistics, pq_statistics

__all__ = ['InstanceAP', 'PQStatistics', 'PanopticQuality', 'pq_statistics']
