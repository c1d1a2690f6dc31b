"""Contract of every family: a model type of transformers, and one of its causal models where its
text part has none.
"""

import pytest
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from analysis.models.architecture import families


@pytest.mark.parametrize("name", families.FAMILIES)
def test_family(name):
    family = families.FAMILIES[name]
    config = CONFIG_MAPPING[name]() if name in CONFIG_MAPPING else None
    if family.plain:
        assert family.plain["model_type"] in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    else:
        assert families.of(config) is family
        assert family.row_bound(config) in (True, False)
