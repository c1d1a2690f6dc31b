"""Loading of models into memory: plan, configuration, tokenizer, weights and devices."""

import logging

# It warns at its import that a kernel is not installed, which Layerscope does not need.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
