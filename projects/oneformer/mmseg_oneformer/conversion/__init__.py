"""Weights in the forms in which OneFormer was published: the reference code's, transformers', and ours."""

from .convert import BUFFERS, FORMS, Conversion, form_of, from_ours, to_ours
from .files import read_file
from .looks import Looks, describe_misfit, fitting_models, looks_of

__all__ = [
    'BUFFERS',
    'FORMS',
    'Conversion',
    'Looks',
    'describe_misfit',
    'fitting_models',
    'form_of',
    'from_ours',
    'looks_of',
    'read_file',
    'to_ours',
]
