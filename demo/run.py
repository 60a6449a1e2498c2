"""The demo: fine-tune a model of the worm on 47 genes of the fly, and compare the two models."""

import shutil
import sys
from pathlib import Path

from spliceai_jax import TransferSettings, transfer
from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.display import ConsoleDisplay
from spliceai_jax.errors import Interrupted

HERE = Path(__file__).parent


def main() -> None:
    output = HERE / "output"
    shutil.rmtree(output, ignore_errors=True)  # left by an earlier run of the demo
    print("A model that has only seen worms (400 nt of context) learns the splice sites of the fly from 47 genes.\n")
    settings = TransferSettings(
        train_dataset=HERE / "fly" / "dataset_train.h5",
        test_dataset=HERE / "fly" / "dataset_test.h5",
        pretrained_model=HERE / "worm_400nt.pt",
        output_dir=output,
        project_name="fly",
        recipe="best",
    )
    try:
        history = transfer(settings, ConsoleDisplay()).history
    except Interrupted:
        sys.exit("The demo was stopped; it begins anew when it is started again.")
    before, after = history.untouched["test"].metrics, history.epochs[history.best_epoch].test.metrics
    print("\nOn 29 genes of another chromosome arm, AUPRC (top-k accuracy):")
    for kind in SITE_KINDS:
        was, now = before.site(kind), after.site(kind)
        print(
            f"{kind:>9}  {was.auprc:.3f} ({was.top_k_accuracy:.3f}) before, "
            f"{now.auprc:.3f} ({now.top_k_accuracy:.3f}) after"
        )


if __name__ == "__main__":
    main()
