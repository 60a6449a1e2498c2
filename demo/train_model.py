"""Train the demo's starting model: a 400-nt network from random weights on worm genes.

    python demo/train_model.py FOLDER_WITH_THE_WORMS_DATASETS OUTPUT_FOLDER

The folder holds dataset_{train,validation,test}.h5 of *C. elegans* in OpenSpliceAI's form (genes of the autosomes to
train and validate on, of chromosome X to test on; from KorfLab/datacore, MIT licence). Two cycles of four epochs
each, the second in smaller batches; `demo/worm_400nt.pt` is its best model. About 40 minutes on 2 cores; if stopped, it
continues where it was.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from spliceai_jax import ARCHITECTURES, Pretrained, SpliceAI, TransferSettings, transfer
from spliceai_jax.display import ConsoleDisplay

FLANKING_SIZE = 400


def main() -> None:
    data, output = map(Path, sys.argv[1:])
    network = SpliceAI(ARCHITECTURES[FLANKING_SIZE])
    variables = jax.device_get(network.init(jax.random.key(0), np.zeros((1, FLANKING_SIZE + 1), np.uint8)))
    model = output / "random_400nt.pt"
    Pretrained(FLANKING_SIZE, variables).to_pt(model)
    for cycle, (learning_rate, batch_size) in enumerate([(3e-3, 16), (2e-3, 4)]):
        settings = TransferSettings(
            train_dataset=data / "dataset_train.h5",
            test_dataset=data / "dataset_test.h5",
            pretrained_model=model,
            output_dir=output,
            project_name="worm",
            exp_num=cycle,
            recipe="best",
            learning_rate=learning_rate,
            batch_size=batch_size,
            epochs=4,
            resume=True,
        )
        model = transfer(settings, ConsoleDisplay()).best_model


if __name__ == "__main__":
    main()
