"""The doctor: finds what is wrong with a data set before days of training are spent on it."""

from .examine import Examination, examine
from .fixing import Fixes, fix, fixed_paths
from .rules import RULES, Finding, Rule, rules_table
from .source import Source, open_source
from .summary import counts_by_severity, format_report, report_dict
from .workers import available_cores

__all__ = [
    'RULES',
    'Examination',
    'Finding',
    'Fixes',
    'Rule',
    'Source',
    'available_cores',
    'counts_by_severity',
    'examine',
    'fix',
    'fixed_paths',
    'format_report',
    'open_source',
    'report_dict',
    'rules_table',
]
