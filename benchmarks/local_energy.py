"""The local energy costs at most 1.05 times its forward passes.

`sacreddnn.local_energy` at three noise strengths and one draw is four passes over the images: those of the network
itself and of its three perturbed copies. The same passes, bare, are what it is compared with: the network in eval
mode, under inference mode, on the same minibatches. LeNet reads 5,000 images and ResNet-18 250, where a run reads
10,000 by default, which makes the share of the noise larger than in a run.

Several draws in one pass: the passes of four perturbed copies over 2,000 images stacked by torch.func.vmap against the
same passes one after another. Convolutions with weights of their own for every draw become grouped ones.
"""

from __future__ import annotations

import measure
import torch

import sacreddnn
from sacreddnn import models
from sacreddnn.flatness import error_and_loss

SIGMAS = (0.1, 0.2, 0.3)


def main() -> None:
    bench = measure.start(__doc__, "local_energy")
    for name, channels, size, num_images in (("lenet", 1, 28, 5_000), ("resnet18", 3, 32, 250)):
        if bench.toy and name != "lenet":
            continue
        num_images = 100 if bench.toy else num_images
        network = models.build(name, num_classes=10, in_channels=channels, image_size=size, seed=0)
        network = network.to(bench.device).to(memory_format=torch.channels_last)
        images = torch.randn(num_images, channels, size, size, device=bench.device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.randint(10, (num_images,), device=bench.device)
        batches = list(zip(images.split(500), labels.split(500), strict=True))

        @torch.inference_mode()
        def passes(network=network, batches=batches) -> None:
            network.eval()
            for _ in range(1 + len(SIGMAS)):
                for inputs, _ in batches:
                    network(inputs)

        def energy(network=network, batches=batches) -> None:
            sacreddnn.local_energy(network, batches, SIGMAS, num_samples=1, measure=error_and_loss)

        times = bench.in_turn({"energy": energy, "passes": passes}, repeats=9 if name == "lenet" else 3, warm_up=1)
        bench.ratio(f"{name}: local energy / its forward passes", times["energy"], times["passes"], at_most=1.05)

        if name != "lenet":
            continue
        draws, few = 4, batches[:4]
        stacked = {key: torch.stack(draws * [p.detach()]) for key, p in network.named_parameters()}
        buffers = dict(network.named_buffers())

        def call(parameters, inputs, network=network, buffers=buffers) -> torch.Tensor:
            return torch.func.functional_call(network, (parameters, buffers), (inputs,))

        together = torch.func.vmap(call, in_dims=(0, None))

        @torch.inference_mode()
        def at_once(together=together, stacked=stacked, batches=few, network=network) -> None:
            network.eval()
            for inputs, _ in batches:
                together(stacked, inputs)

        in_turn = {"stacked": at_once, "passes": lambda few=few: passes(batches=few)}
        times = bench.in_turn(in_turn, repeats=5, warm_up=1)
        bench.ratio(f"{name}: {draws} draws stacked / one after another", times["stacked"], times["passes"])
    bench.finish()


if __name__ == "__main__":
    main()
