"""Gallery: models whose results come with the program, so that their weights are not needed."""

from dataclasses import dataclass

from analysis.data import starter

STARTER = "starter"
"""Source of the model of the starter pack."""


@dataclass(frozen=True)
class Exhibit:
    """Model of the gallery, with the file that its results were computed from."""

    source: str
    """Source as in `ModelSpec.source`, the same on all machines."""
    title: str
    """Display name."""
    weights: str
    """Publisher and quantization of the weights, in a clause."""
    licence: str
    """Licence of the weights."""
    page: str
    """Hub id of the publisher's repository."""
    sha256: str = ""
    """SHA-256 of the file with the weights; "" if they are in a package."""
    identity: str = ""
    """Identity of the weights as in `ModelSpec.identity`, without the version of a package."""
    file_bytes: int = 0
    """Size of the file in bytes; 0 if it is in a package."""


EXHIBITS = (
    Exhibit(
        STARTER,
        starter.NAME,
        "Q4_1 GGUF file of the starter pack",
        "Apache-2.0",
        starter.HUB_ID,
        "",
        starter.WHEEL,
    ),
    Exhibit(
        "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "Qwen2.5-Coder-0.5B-Instruct",
        "the publisher's Q4_K_M GGUF file, with untied embeddings",
        "Apache-2.0",
        "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "gguf:2edcd8efbe652f2a1cfb1a75",
        491_400_064,
    ),
    Exhibit(
        "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        "Qwen2.5-Coder-1.5B-Instruct",
        "the publisher's Q4_K_M GGUF file, with untied embeddings",
        "Apache-2.0",
        "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        "gguf:18baf4e75abe63a2fceec1ec",
        1_117_320_768,
    ),
)
"""All models of the gallery, in display order."""


def exhibit(source: str) -> Exhibit | None:
    """Return the model of the gallery with a source; None for any other."""
    return next((entry for entry in EXHIBITS if entry.source == source), None)


def is_exhibit(source: str, identity: str) -> bool:
    """Return whether weights belong to the gallery, by their identity, or by their source if the
    identity is unknown.
    """
    return any(
        identity.startswith(entry.identity) if identity else source == entry.source
        for entry in EXHIBITS
    )


def name_of(source: str, file_name: str) -> str:
    """Return the title of a model of the gallery, or the file name of any other model.

    Args:
        source: source as in `ModelSpec.source`.
        file_name: name as in `ModelFacts.name`.
    """
    model = exhibit(source)
    return file_name if model is None else model.title
