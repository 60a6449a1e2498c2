"""The demo: from a genome and its annotation to a tuned model, its report, and its scores of the genome."""

import shutil
import sys
import warnings
from pathlib import Path

from spliceai_jax import TransferSettings, transfer
from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.display import ConsoleDisplay
from spliceai_jax.errors import Interrupted

HERE = Path(__file__).parent


def main() -> None:
    warnings.formatwarning = lambda message, *_, **__: f"note: {message}\n"  # as the command prints them
    output = HERE / "output"
    shutil.rmtree(output, ignore_errors=True)  # left by an earlier run of the demo
    print(
        "A model that has only seen worms (400 nt of context) learns the splice sites of the fly from the genes of\n"
        "four chromosomes or arms. Those of another, 2L, are kept back to test it.\n"
    )
    settings = TransferSettings(
        genome_fasta=HERE / "fly_genome" / "genome.fa.gz",
        annotation_gff=HERE / "fly_genome" / "annotation.gff3.gz",
        test_sequences=("2L",),
        pretrained_model=HERE / "worm_400nt.pt",
        output_dir=output,
        project_name="fly",
        recipe="best",
        predict=True,
    )
    try:
        result = transfer(settings, ConsoleDisplay())
    except Interrupted:
        sys.exit("The demo was stopped; it begins anew when it is started again.")
    before, after = result.history.untouched["test"].metrics, result.best_measured["test"].metrics
    print("\nOn the 30 genes of 2L, AUPRC (top-k accuracy):")
    for kind in SITE_KINDS:
        was, now = before.site(kind), after.site(kind)
        print(
            f"{kind:>9}  {was.auprc:.3f} ({was.top_k_accuracy:.3f}) before, "
            f"{now.auprc:.3f} ({now.top_k_accuracy:.3f}) after"
        )


if __name__ == "__main__":
    main()
