"""What the prompt microscope shows, in sentences; they hold the user's own words and so are plain text."""

from analysis.experiments.prompt.spec import MicroscopeResult


def movers(result: MicroscopeResult) -> str:
    """Which tokens the deepest third of the layers moves most and least."""
    deep = result.distances[-max(1, len(result.layers) // 3) :]
    means = [sum(row[token] for row in deep) / len(deep) for token in range(len(result.pieces))]
    most, least = (pick(range(len(means)), key=means.__getitem__) for pick in (max, min))
    first = result.layers[-len(deep)]
    return (
        f"In the deepest third, from layer {first} on, token {most + 1} “{result.pieces[most].strip()}” moves most, "
        f"{means[most]:.3f} per layer, and token {least + 1} “{result.pieces[least].strip()}” least, {means[least]:.3f}."
    )


def settles(result: MicroscopeResult, position: int) -> str:
    """From which layer on the final guess after a token stays on top."""
    final, settled = result.guess(-1, position), result.settled[position]
    chance = result.probabilities[-1][position][0]
    if settled == 0:
        return f"“{final.strip()}”, in the end at {chance:.1%}, is on top from the embeddings on."
    return (
        f"“{final.strip()}”, in the end at {chance:.1%}, stays on top from layer {result.layers[settled - 1]} on (dotted line)."
    )


def notes(result: MicroscopeResult) -> list[str]:
    """What a reader should know besides: who moves, what was left out, what was looked into."""
    said = [movers(result)] if len(result.pieces) > 1 else []
    if result.n_left_out:
        shown = len(result.pieces)
        said.append(f"Only the first {shown} tokens are shown; the {result.n_left_out} after them were not read.")
    what = f"without {result.spec.block.describe()}" if result.spec.block else "unpruned"
    model = result.spec.model
    said.append(f"{result.model_name}, {what}, {model.dtype} on {model.device}, {result.wall_s:.1f} s without loading.")
    return said
