"""What fine-tuning for a new species has done to a model on the old one, in words."""

from spliceai_jax.evaluation.bootstrap import Differences, Verdict

_FOUND: dict[Verdict, str] = {
    "worse": "The tuned model has forgotten part of what the untouched model knew about the old species",
    "better": "The tuned model is better than the untouched model on the old species too",
    "unclear": "No clear difference from the untouched model on the old species",
}


def forgetting_in_words(found: Differences) -> str:
    """Return what a comparison of the tuned model with the untouched one comes to on a data set of the old species."""
    return f"{_FOUND[found.verdict]}: {found.words}"
