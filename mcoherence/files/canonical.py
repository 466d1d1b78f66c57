"""One text for equal settings, so that a setting that is written otherwise but means the same re-runs nothing."""

import json
from collections.abc import Mapping
from typing import Any


def canonical_json(content: Any) -> str:
    """JSON that is equal for equal settings: sorted keys, no spaces, 1.0 written as 1."""
    return json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _canonical(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _canonical(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_canonical(value) for value in content]
    if isinstance(content, float) and content.is_integer():
        return int(content)
    return content
