"""Content: every stored value once, and lists as pieces of append-only logs."""

from rowtrail.content._canonical import (
    Canonical,
    Mask,
    canonical,
    canonical_json,
    register_canonical,
)
from rowtrail.content._classes import UnknownClassError, codec_for, is_data_class
from rowtrail.content._codec import (
    MAX_DEPTH,
    Codec,
    Encoded,
    dump_json,
    legible,
    register_form,
)
from rowtrail.content._content import Content, Prepared, PreparedList, is_sweeping, stored
from rowtrail.content._digests import hasher, is_for_show, is_genuine, seal_of
from rowtrail.content._function import LAMBDA, STEP_MARK, closure_of, function_parts
from rowtrail.content._object import counts
from rowtrail.content._plain import LONGEST_INT
from rowtrail.content._tagged import TAG, TypeCodec, class_name

__all__ = [
    "LAMBDA",
    "LONGEST_INT",
    "MAX_DEPTH",
    "STEP_MARK",
    "TAG",
    "Canonical",
    "Codec",
    "Content",
    "Encoded",
    "Mask",
    "Prepared",
    "PreparedList",
    "TypeCodec",
    "UnknownClassError",
    "canonical",
    "canonical_json",
    "class_name",
    "closure_of",
    "codec_for",
    "counts",
    "dump_json",
    "function_parts",
    "hasher",
    "is_data_class",
    "is_for_show",
    "is_genuine",
    "is_sweeping",
    "legible",
    "register_canonical",
    "register_form",
    "seal_of",
    "stored",
]
