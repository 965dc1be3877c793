"""Where a published dictionary's features have pages: links to Neuronpedia, nothing is fetched."""

from __future__ import annotations

SOURCES = {
    "mntss/gemma-scope-transcoders": ("gemma-2-2b", "gemmascope-transcoder-16k"),
    "mntss/clt-gemma-2-2b-2.5M": ("gemma-2-2b", "clt-hp"),
    "mwhanna/qwen3-4b-transcoders": ("qwen3-4b", "transcoder-hp"),
    "mwhanna/qwen3-8b-transcoders": ("qwen3-8b", "transcoder-hp"),
    "mwhanna/gemma-scope-2-4b-it/transcoder_all/width_262k_l0_small_affine": (
        "gemma-3-4b-it",
        "gemmascope-transcoder-262k",
    ),
}
"""Neuronpedia's model and source set of a hub repository (and folder in it)."""


def page_address(source: str) -> str | None:
    """Address of a dictionary's pages with {layer} and {feature} in it; None for unknown ones.

    `source` is as in a dictionary's identity, "hub:org/repo/sub@commit".

    >>> page_address("hub:mwhanna/qwen3-4b-transcoders@0123abc")
    'https://www.neuronpedia.org/qwen3-4b/{layer}-transcoder-hp/{feature}'
    >>> page_address("bundled") is None
    True
    """
    kind, _, reference = source.partition(":")
    known = SOURCES.get(reference.partition("@")[0]) if kind == "hub" else None
    if known is None:
        return None
    model, source_set = known
    return f"https://www.neuronpedia.org/{model}/{{layer}}-{source_set}/{{feature}}"


def feature_page(source: str, layer: int, feature: int) -> str | None:
    """The page of one feature; None where its dictionary has none that is known.

    >>> feature_page("hub:mntss/clt-gemma-2-2b-2.5M", 5, 77)
    'https://www.neuronpedia.org/gemma-2-2b/5-clt-hp/77'
    """
    address = page_address(source)
    return None if address is None else address.format(layer=layer, feature=feature)
