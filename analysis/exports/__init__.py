"""Files to take away: model folders, recipes, cards, reports."""

from analysis.exports.spec import ExportResult, ExportSpec

__all__ = ["ExportResult", "ExportSpec"]
