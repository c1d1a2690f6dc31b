"""Result packs: results of a model as one zip file, and such files opened read-only beside one's
own results.

Packs on the Hub are in `remote`.
"""

from analysis.results.packs.making import Pack, make
from analysis.results.packs.opening import by_id, open_file, remove
from analysis.results.stored.pack_list import OpenedPack, opened

__all__ = ["OpenedPack", "Pack", "by_id", "make", "open_file", "opened", "remove"]
