"""The gallery: models whose results come with the program, made elsewhere, so that their weights need not be here."""

from dataclasses import dataclass

from analysis.data import starter

STARTER = "starter"
"""The source of the model that comes with the starter pack."""


@dataclass(frozen=True)
class Exhibit:
    """A model of the gallery, and the very file that its results were computed from."""

    source: str
    """As in `ModelSpec.source`: the same on every machine, whether the weights are there or not."""
    title: str
    """Name to show."""
    weights: str
    """Whose weights, and how they are rounded, in a clause."""
    licence: str
    """Of the weights."""
    page: str
    """Hub id of the page that publishes them."""
    sha256: str = ""
    """Of the file with the weights; "" if the version of a package says which they are."""
    identity: str = ""
    """Of that file, as in `ModelSpec.identity`; of a package without its version."""
    file_bytes: int = 0
    """Size of that file, which is not here."""


EXHIBITS = (
    Exhibit(STARTER, starter.NAME, "Q4_1 GGUF file of the starter pack", "Apache-2.0", starter.HUB_ID, "", starter.WHEEL),
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
"""All of them, in the order in which they are shown; their stored results tell which measurements there are."""


def exhibit(source: str) -> Exhibit | None:
    """The model of the gallery with this source; None for any other."""
    return next((entry for entry in EXHIBITS if entry.source == source), None)


def is_exhibit(source: str, identity: str) -> bool:
    """Return whether weights are those of a model of the gallery: by their identity, by their source if that is unknown."""
    return any(identity.startswith(entry.identity) if identity else source == entry.source for entry in EXHIBITS)


def name_of(source: str, file_name: str) -> str:
    """Return the title of a model of the gallery, and the name of its file or folder for any other.

    Args:
        source: as in `ModelSpec.source`.
        file_name: as in `ModelFacts.name`.
    """
    known = exhibit(source)
    return file_name if known is None else known.title
