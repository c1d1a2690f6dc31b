"""What differs from family to family: where the parts of a decoder are, by explicit lookup."""

LAYER_PATHS = ("layers", "h", "decoder.layers", "blocks", "language_model.layers", "text_model.layers")
"""Where families keep their decoder layers, below `base_model`."""
NORM_NAMES = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "norm_f")
"""What families call the norm between the last layer and the head, beside the layers."""

FEED_FORWARD_NAMES = ("mlp", "feed_forward", "ffn", "feedforward")
"""What families call the feed-forward part of a decoder layer."""
FEED_FORWARD_LINEARS = ("fc1", "fc2")
"""Feed-forward weights of families that keep them in the layer itself (OPT)."""
EXPERTS = ("moe", "expert", "router")
